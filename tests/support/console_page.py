"""Somebody at a console's pages without a browser's script: cookies, links and forms. Blocks; every wait is bounded."""

from __future__ import annotations

import re
import urllib.parse
import urllib.request
from collections.abc import Mapping
from http.cookiejar import CookieJar
from typing import Final

HTTP_TIMEOUT_S: Final = 20.0
_CSRF: Final = re.compile(r'name="csrf" value="([^"]+)"')


class Page:
    """The pages of a running console, to one who is logged in.

    Args:
        url: Where it listens.
        name: Who acts.
        token: That opens it.

    Raises:
        AssertionError: the token opens nothing.
    """

    def __init__(self, url: str, name: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._open = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        self._csrf = ""
        found = _CSRF.search(self.post("/login", {"name": name, "token": token}))
        assert found is not None, "a page with forms comes after the login"
        self._csrf = found[1]

    def get(self, path: str) -> str:
        """A page."""
        return self._text(path, None)

    def post(self, path: str, form: Mapping[str, str]) -> str:
        """Send a form; the page that comes after it."""
        return self._text(path, urllib.parse.urlencode({**form, "csrf": self._csrf}).encode())

    def _text(self, path: str, body: bytes | None) -> str:
        with self._open.open(self._url + path, body, timeout=HTTP_TIMEOUT_S) as answer:
            return str(answer.read().decode())
