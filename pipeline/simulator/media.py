"""Uploaded media: what came in, kept for as long as there is room. Pure; runs on the simulator's loop.

Forms: whatsapp-api.md §1.6 (v1: raw bytes), §2.2 (cloud: multipart with `file`, `type`, `messaging_product`).
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from dataclasses import dataclass

MEDIUM_BYTES_MAX = 16 * 1024 * 1024
MEDIA_BYTES_MAX = 64 * 1024 * 1024
MEDIA_MAX = 10_000
PARTS_MAX = 16

_BOUNDARY = re.compile(r'boundary="?([^";,\s]{1,70})"?')
_PART_NAME = re.compile(rb'[;\s]name="?([^";\r\n]{1,100})"?')
_PART_TYPE = re.compile(rb"content-type:\s*([^\s;]{1,100})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Medium:
    """An uploaded medium."""

    mime_type: str
    raw: bytes

    @property
    def sha256(self) -> str:
        """Digest of its bytes, in hex."""
        return hashlib.sha256(self.raw).hexdigest()


class Media:
    """Media by id; the oldest make room for new ones."""

    def __init__(self) -> None:
        """Hold none yet."""
        self._media: OrderedDict[str, Medium] = OrderedDict()
        self._bytes = 0
        self._count = 0

    def __contains__(self, name: str) -> bool:
        return name in self._media

    def get(self, name: str) -> Medium | None:
        """The medium of that id; None = there is none, or it had to make room."""
        return self._media.get(name)

    def add(self, medium: Medium, *, is_v1: bool) -> str:
        """Keep a medium of at most `MEDIUM_BYTES_MAX` bytes; its id, which looks as the profile's do."""
        self._count += 1
        name = f"f043afd0-f0ae-4b9c-ab3d-{self._count:012d}" if is_v1 else str(1_700_000_000_000_000 + self._count)
        self._media[name] = medium
        self._bytes += len(medium.raw)
        while self._bytes > MEDIA_BYTES_MAX or len(self._media) > MEDIA_MAX:
            self._bytes -= len(self._media.popitem(last=False)[1].raw)
        return name

    def delete(self, name: str) -> bool:
        """Forget a medium; say whether there was one."""
        medium = self._media.pop(name, None)
        self._bytes -= len(medium.raw) if medium is not None else 0
        return medium is not None


def form_parts(content_type: str, body: bytes) -> dict[str, tuple[bytes, str]]:
    """Parts of a multipart form by name, each with its own content type ("" = none); empty if it is no such form."""
    found = _BOUNDARY.search(content_type)
    if not content_type.lower().startswith("multipart/form-data") or found is None:
        return {}
    parts: dict[str, tuple[bytes, str]] = {}
    for piece in (b"\r\n" + body).split(b"\r\n--" + found[1].encode())[1 : PARTS_MAX + 1]:
        head, blank, raw = piece.partition(b"\r\n\r\n")
        name = _PART_NAME.search(head)
        if blank and name is not None:
            kind = _PART_TYPE.search(head)
            parts[name[1].decode("latin-1")] = (raw, "" if kind is None else kind[1].decode("latin-1"))
    return parts
