"""Where each number's token comes from, by the settings: a fixed one, or a login that it shares with others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

from pipeline.config import Login, NumberSettings, Settings
from pipeline.secrets import password_of, token_of
from pipeline.sender.access import Access, FixedToken
from pipeline.sender.login import LoginTask, login_bucket
from pipeline.sender.scopes import Scopes
from pipeline.throttle.bucket import Bucket
from pipeline.whatsapp.client import Client
from pipeline.whatsapp.profiles import PROFILES, Endpoint


class Logins:
    """The logins of this process.

    Args:
        access: Gets to know all numbers here.
        scopes: Of each number.
        sister_wait_s: See `LoginTask`, by base_url.

    Attributes:
        tasks: By host and user.

    Raises:
        ConfigError: a token is missing.
    """

    def __init__(
        self, settings: Settings, access: Access, client: Client, scopes: Mapping[str, Scopes],
        sister_wait_s: Callable[[str], float], steady_s: Callable[[], float], unix_s: Callable[[], float],
    ) -> None:  # fmt: skip
        self.tasks: dict[Login, LoginTask] = {}
        buckets: dict[str, Bucket] = {}
        for number, conf in settings.numbers.items():
            locate = partial(_locate, number, conf)
            if conf.login is None:
                access.add(number, locate, FixedToken(number, partial(token_of, number, conf)))
                continue
            task = self.tasks.get(conf.login)
            if task is None:
                numbers = [one for one, other in settings.numbers.items() if other.login == conf.login]
                task = self.tasks[conf.login] = LoginTask(
                    client, conf.login, numbers, partial(password_of, number, conf), host=scopes[number].host,
                    bucket=buckets.setdefault(conf.base_url, login_bucket(steady_s())),
                    sister_wait_s=partial(sister_wait_s, conf.base_url), steady_s=steady_s, unix_s=unix_s,
                )  # fmt: skip
            access.add(number, locate, task)

    def start(self, on_end: Callable[[asyncio.Task[None]], None]) -> list[asyncio.Task[None]]:
        """Begin to log in; the caller cancels the tasks at its end.

        Args:
            on_end: Called with a task that has ended.
        """
        loop = asyncio.get_running_loop()
        running = [loop.create_task(task.run()) for task in self.tasks.values()]
        for task in running:
            task.add_done_callback(on_end)
        return running


def _locate(number: str, conf: NumberSettings, token: str) -> Endpoint:
    return PROFILES[conf.profile].endpoint(conf.base_url, number, token)
