"""Event loops in virtual time: one per simulated process, stepped by the world, never sleeping.

A process that is frozen is not stepped; one that crashed is closed with everything that waits in it.
"""

from __future__ import annotations

import asyncio
import contextvars
from asyncio import events
from collections.abc import Callable
from typing import Any

RESOLUTION_S = 1e-6


class Clock:
    """The one true time of a simulated world, seconds from its beginning."""

    def __init__(self) -> None:
        self.now_s = 0.0


class _NoSelector:
    """Nothing comes from outside, and nobody waits."""

    def select(self, _timeout_s: float | None = None) -> list[Any]:
        return []


class ProcessLoop(asyncio.BaseEventLoop):
    """The loop of one simulated process.

    Args:
        clock: The world's.
        thread_delay_s: How long a call in a thread takes; it happens at the end of that time.
        world: What fakes reach through the loop.
    """

    def __init__(self, clock: Clock, thread_delay_s: Callable[[], float], world: Any) -> None:
        super().__init__()
        self._selector = _NoSelector()
        self._clock_resolution = RESOLUTION_S
        self._clock, self._thread_delay_s = clock, thread_delay_s
        self.world = world
        self.process: Any = None
        self.frozen_until_s = 0.0
        self.dead = False
        self.errors: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _loop, context: self.errors.append(context))

    def time(self) -> float:
        """The world's time."""
        return self._clock.now_s

    def next_s(self) -> float:
        """When this loop has something to do; infinite if never."""
        if self.dead:
            return float("inf")
        if self._ready:  # type: ignore[attr-defined]
            return max(self._clock.now_s, self.frozen_until_s)
        for handle in self._scheduled:  # type: ignore[attr-defined]
            if not handle.cancelled():
                return max(float(handle.when()), self.frozen_until_s)
            break
        return max(self._clock.now_s, self.frozen_until_s) if self._scheduled else float("inf")  # type: ignore[attr-defined]

    def step(self) -> None:
        """Run what is due."""
        events._set_running_loop(self)
        try:
            self._run_once()  # type: ignore[attr-defined]
        finally:
            events._set_running_loop(None)

    def kill(self) -> None:
        """End the process at once: no callback of it runs any more, nothing it waits for is told."""
        if self.dead:
            return
        self.dead = True
        tasks = asyncio.all_tasks(self)
        for task in tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        for task in tasks:
            coro = task.get_coro()
            if hasattr(coro, "close"):
                coro.close()
        self.close()

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """A timer; in a dead process it never rings."""
        if self.dead:
            return asyncio.TimerHandle(when, callback, args, self)
        return super().call_at(when, callback, *args, context=context)

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """A timer, counted from now."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """A callback; in a dead process it never runs."""
        if self.dead:
            return asyncio.Handle(callback, args, self)
        return super().call_soon(callback, *args, context=context)

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """The same: there is one thread."""
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Run a blocking call inline, a little later."""
        future = self.create_future()

        def run() -> None:
            if future.cancelled():
                return
            try:
                result = func(*args)
            except Exception as exc:
                future.set_exception(exc)
            else:
                future.set_result(result)

        self.call_later(self._thread_delay_s(), run)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Note what nobody caught."""
        if not self.dead:
            super().call_exception_handler(context)

    def _process_events(self, _event_list: list[Any]) -> None:
        return None

    def _write_to_self(self) -> None:
        return None
