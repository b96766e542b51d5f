"""The console in a real browser while events pour in: tasks that hold the page up, and how far the console is behind.

A task of more than 50 ms is a "long task" (W3C, Long Tasks API): the browser tells each, and a page with ones of 200 ms
feels stuck.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from confluent_kafka import Producer
from playwright.sync_api import sync_playwright

from pipeline.clock import rfc3339, unix_ms
from pipeline.records.codec import encode
from pipeline.records.ledger import ledger_record
from tests.bench.console import KINDS, TOKEN, WAIT_S, filled, request_id, shape_of, start
from tests.bench.measure import cpu_s, percentile, rss_mib
from tests.bench.rows import Row
from tests.support.visitor import visitor
from tests.support.world import World

STEP_S: Final = 0.05
ON_A_PAGE_S: Final = 20.0
PEOPLE: Final = 1_000
CAMPAIGN: Final = "campaign-0"
PAGES: Final = {
    "overview": "/", "messages": "/messages", "campaign": f"/campaigns/view?name={CAMPAIGN}", "campaigns": "/campaigns",
}  # fmt: skip
OBSERVE: Final = """
window.longTasks = [];
new PerformanceObserver(list => longTasks.push(...list.getEntries().map(one => one.duration)))
    .observe({type: "longtask", buffered: true});
"""


class Pour(threading.Thread):
    """Writes events of messages as they go their way, and their requests to the ledger, at an even rate.

    Args:
        rate: Events per second.

    Attributes:
        written: Events so far.
        failed: Records that Kafka did not take.
    """

    def __init__(self, world: World, rate: int) -> None:
        super().__init__(name="pour", daemon=True)
        self._world, self._rate = world, rate
        self._ended = threading.Event()
        self.written = self.failed = 0

    def run(self) -> None:
        """Until `end`."""
        producer = Producer({"bootstrap.servers": self._world.kafka, "linger.ms": 20, "acks": 1})
        shapes, began_s = [shape_of(kind) for kind in KINDS], time.monotonic()
        while not self._ended.wait(STEP_S):
            due = int((time.monotonic() - began_s) * self._rate)
            at_ms = unix_ms()
            while self.written < due:
                self._message(producer, shapes, self.written // len(KINDS), at_ms)
            producer.poll(0)
        producer.flush(30)

    def end(self) -> None:
        """Stop, and wait until all is written."""
        self._ended.set()
        self.join(60)

    def _message(self, producer: Producer, shapes: list[tuple[str, bytes]], message: int, at_ms: int) -> None:
        at, person = rfc3339(at_ms), f"1555{message % PEOPLE:07d}"
        for topic, shape in shapes:
            value = filled(shape, message, self.written, at)
            producer.produce(self._world.topic(topic), value, person, on_delivery=self._done)
            self.written += 1
        attempt = ledger_record("attempt", 1, request_id=f"live-{message}", attempt=1, recipient=person)
        producer.produce(self._world.topic("send-ledger"), encode(attempt), partition=0, on_delivery=self._done)

    def _done(self, error: object, _message: object) -> None:
        self.failed += error is not None


def console_live(kafka: str, folder: Path, count: int) -> Iterator[Row]:
    """The console's pages in a real browser at so many events per second: tasks that hold a page up."""
    (folder / "console-token").write_text(TOKEN)
    settings = f'[console]\nport = 0\noperator_token_file = "{folder / "console-token"}"\n'
    with World(kafka, folder, settings=settings) as world, sync_playwright() as playwright:
        page, heard = start(world), world.heard("console")
        assert heard is not None
        pid = world.processes.pid("console")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        pour = Pour(world, count)
        pour.start()
        try:
            with visitor(browser, heard["url"].rstrip("/"), TOKEN) as ada:
                ada.page.add_init_script(OBSERVE)
                for name, path in PAGES.items():
                    ada.go(path)
                    before, used_s, began_s = pour.written, cpu_s(pid), time.monotonic()
                    ada.page.wait_for_timeout(ON_A_PAGE_S * 1000)
                    seconds = time.monotonic() - began_s
                    tasks = [float(one) for one in ada.page.evaluate("longTasks")]
                    yield {
                        "page": name,
                        "events/s": round((pour.written - before) / seconds),
                        "long tasks": len(tasks),
                        "longest, ms": round(max(tasks, default=0.0)),
                        "p50 of them, ms": round(percentile(tasks, 0.5)),
                        "console, % of a core": round(100 * (cpu_s(pid) - used_s) / seconds),
                        "console MiB": round(rss_mib(pid)),
                        "script errors": len(ada.problems),
                    }
        finally:
            pour.end()
            browser.close()
        assert pour.failed == 0, "Kafka did not take everything"
        last, ended_s = request_id(pour.written // len(KINDS) - 1), time.monotonic()
        world.until(lambda: "by request id" in page.get(f"/messages?q={last}"), "the last one is found", WAIT_S)
        yield {"page": "search for the last of them", "found after, s": round(time.monotonic() - ended_s, 1)}
