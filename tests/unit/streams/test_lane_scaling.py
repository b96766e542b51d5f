"""Other lanes for a number: which partitions, what is refused, what is left to do after a kill at any step."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

import pytest

from pipeline.config import Settings
from pipeline.errors import ConfigError, ContractError
from pipeline.records.lanes import Earlier, Lanes, differing, lanes_in_force, lanes_key, parse_lanes, with_lanes
from pipeline.streams.lane_scaling import LaneRun, Waiting, plan, refusal, target_of
from pipeline.streams.scaling import ScalingStopped

ADA, BOB = "200000000000001", "200000000000002"
RATE_PER_S = 50.0
ONE = Lanes((0,))
STEPS = ("extend", "wait", "pause", "drain", "open")


def settings_of(**partitions: list[int]) -> Settings:
    """Settings of ADA and BOB with these lanes."""
    pins = {ADA: partitions.get("ada", [0]), BOB: partitions.get("bob", [1])}
    own = {"business": "acme", "profile": "v1", "base_url": "http://api", "token_env": "T"}
    return Settings.model_validate({"numbers": {name: {**own, "partitions": pinned} for name, pinned in pins.items()}})


class Killed(Exception):
    """The command was killed."""


class Kafka:
    """A cluster in memory, in which time passes by sleeping only.

    Args:
        lanes: As they are on record.
        waiting: What waits on the lanes of before, look by look; nothing after the last.

    Attributes:
        journalled: Step of each journal record, with its word for the audit.
        kill_after: So many journal records are written, then the command is killed.
    """

    def __init__(self, lanes: Lanes | None = None, waiting: Iterable[Waiting] = (), gates: int = 0) -> None:
        self.on_record, self._waiting, self._gates = lanes, list(waiting), gates
        self.journalled: list[tuple[str, str | None]] = []
        self.kill_after = 100
        self.partitions, self._now_s = 2, 0.0

    def gates(self) -> list[str]:
        """They stop one by one once they are told to."""
        assert self.on_record is not None
        assert self.on_record.step == "pause", "gates are waited for before they are told"
        self._gates -= self._gates > 0
        return ["gate"] * self._gates

    def extend(self, partitions: int) -> None:
        """At least as many."""
        self.partitions = max(partitions, self.partitions)

    def are_owned(self, partitions: Iterable[int]) -> bool:
        """Senders have all that there are."""
        return all(one < self.partitions for one in partitions)

    def waiting(self, lanes: Lanes) -> Waiting:
        """As the test has it."""
        assert lanes.partitions == ONE.partitions
        return self._waiting.pop(0) if self._waiting else (0, 0)

    def lanes(self) -> Lanes | None:
        """As on record."""
        return self.on_record

    def journal(self, lanes: Lanes, audit: str | None = None) -> None:
        """Written, read as others would read it."""
        if len(self.journalled) >= self.kill_after:
            raise Killed
        self.on_record = parse_lanes(lanes.record(ADA, 0, "me"))
        self.journalled.append((lanes.step, audit))

    def now_s(self) -> float:
        """Since the beginning."""
        return self._now_s

    def now_ms(self) -> int:
        """The same as a date."""
        return int(self._now_s * 1000)

    def sleep(self, seconds: float) -> None:
        """Time passes."""
        self._now_s += seconds


def run(kafka: Kafka, timeout_s: float = 60.0, within_s: float = 30.0) -> list[str]:
    """Run the command by what is on record; the steps that it told of."""
    said: list[str] = []
    lanes = kafka.on_record or ONE
    one = LaneRun(kafka, lanes, (2, 3), RATE_PER_S, lambda step, _what: said.append(step), lambda _done, _of: None)
    one.take(plan(lanes, 2), timeout_s, within_s)
    return said


def test_new_lanes_have_no_partition_of_before_nor_of_another_number() -> None:
    """The first free ones, or those that the settings pin if these are free; never one that the number ever had."""
    lanes = {ADA: ONE, BOB: Lanes((1,))}
    assert target_of(settings_of(), ADA, 3, lanes) == (2, 3, 4)
    assert target_of(settings_of(ada=[7, 9]), ADA, 2, lanes) == (7, 9)
    assert target_of(settings_of(ada=[0, 9]), ADA, 2, lanes) == (2, 3), "0 is in force"
    was = Lanes((2, 3), earlier=(Earlier((0,), 1),))
    assert target_of(settings_of(ada=[0]), ADA, 1, {**lanes, ADA: was}) == (4,)
    moving = Lanes((1,), target=(2, 3), step="drain")
    assert target_of(settings_of(), ADA, 2, {ADA: ONE, BOB: moving}) == (4, 5)
    assert target_of(settings_of(), BOB, 2, {ADA: ONE, BOB: moving}) == (2, 3), "what is under way"


def test_what_cannot_be_is_refused() -> None:
    """Another count while one is under way, and a number that stands still, whose lanes would never be empty."""
    under_way = Lanes((0,), target=(2, 3), step="drain", run="one")
    assert re.search(r"1 → 2 lanes is under way: .* --lanes 200000000000001=2", refusal(ADA, under_way, 3, []) or "")
    assert refusal(ADA, under_way, 2, ["throttled: the API said so"]) is None, "it has to be brought to its end"
    assert "stands still, so its lanes cannot get empty: operator" in (refusal(ADA, ONE, 2, ["operator: paused"]) or "")
    assert refusal(ADA, ONE, 1, ["operator: paused"]) is None
    assert plan(ONE, 1) == ()


def test_the_whole_way() -> None:
    """Little waits, gates stop, the lanes of before get empty, and only then the new ones are in force."""
    kafka = Kafka(waiting=[(3000, 0), (1500, 9), (700, 9), (0, 2), (0, 0)], gates=3)
    assert run(kafka) == list(STEPS)
    assert kafka.journalled == [("pause", "begins"), ("drain", None), ("open", "done")]
    assert kafka.on_record == Lanes((2, 3), earlier=(Earlier((0,), kafka.now_ms()),))
    assert kafka.partitions == 4


@pytest.mark.parametrize("kill_after", range(3))
def test_killed_anywhere_it_goes_on(kill_after: int) -> None:
    """After a kill before any journal record, the same command comes to the same end; lanes are given up once."""
    kafka = Kafka(gates=2, waiting=[(0, 0), (5, 0)])
    kafka.kill_after = kill_after
    with pytest.raises(Killed):
        run(kafka)
    kafka.kill_after = 100
    assert run(kafka)[-1] == "open"
    assert kafka.on_record is not None
    assert (kafka.on_record.partitions, [one.partitions for one in kafka.on_record.earlier]) == ((2, 3), [(0,)])


def test_nothing_is_changed_when_gates_do_not_stop() -> None:
    """They are named, everything goes on as before, and gates run again."""
    kafka = Kafka(ONE, gates=1000)
    with pytest.raises(ScalingStopped, match=r"gates did not stop within 5 s: gate"):
        run(kafka, timeout_s=5.0)
    assert kafka.on_record == ONE
    assert kafka.journalled[-1] == ("open", "gave up")


def test_a_backlog_is_waited_for_before_anything_is_changed() -> None:
    """Codes would wait as long as what is there takes: it says how long, and changes nothing."""
    kafka = Kafka(ONE, waiting=[(5000, 0)] * 100)
    with pytest.raises(ScalingStopped, match=r"5000 messages wait, 100 s at the number's rate, more than --within"):
        run(kafka, timeout_s=5.0)
    assert kafka.on_record == ONE
    assert not kafka.journalled


def test_a_run_that_was_overtaken_ends() -> None:
    """What another run of the command has written meanwhile is not taken back."""
    kafka = Kafka(ONE, waiting=[(0, 0), (5, 0)])
    other = Lanes((2, 3), earlier=(Earlier((0,), 1),))

    class Late(Kafka):
        def waiting(self, lanes: Lanes) -> Waiting:
            if self.on_record is not None and self.on_record.step == "drain":
                self.on_record = other
            return super().waiting(lanes)

    kafka = Late(ONE)
    with pytest.raises(ScalingStopped, match="another run of this command has taken over"):
        run(kafka)
    assert kafka.on_record == other


def test_what_is_on_record_is_in_force_whatever_settings_say() -> None:
    """Gates write to the target while lanes are drained; settings that differ are named, with the remedy."""
    settings = settings_of(ada=[0, 5])
    moving = Lanes((0,), target=(2, 3), step="drain")
    record = {lanes_key(ADA): moving.record(ADA, 0, "me")}
    lanes = lanes_in_force(settings, record.get)
    assert (lanes[ADA], lanes[BOB]) == (moving, Lanes((1,)))
    assert moving.written == (2, 3)
    assert replace(moving, step="pause").written == (0,)
    own = with_lanes(settings, {number: one.written for number, one in lanes.items()})
    assert own.lanes() == {2: (ADA, 0), 3: (ADA, 1), 1: (BOB, 0)}
    assert differing(settings, lanes) == {ADA: f"set numbers.{ADA}.partitions = [2, 3], which is in force"}
    asks = differing(settings, {ADA: ONE, BOB: Lanes((1,))})[ADA]
    assert asks.endswith(f"to get 2: wapipe topics scale --lanes {ADA}=2")


def test_two_numbers_on_one_lane_are_refused() -> None:
    """A number that was newly pinned to a lane that another one has got by the command keeps roles from starting."""
    settings = settings_of(bob=[3])
    with pytest.raises(ConfigError, match=rf"numbers.{BOB}.partitions: lane 3 belongs to {ADA}"):
        with_lanes(settings, {ADA: (2, 3), BOB: (3,)})


def test_a_record_that_is_none_is_refused() -> None:
    """Lanes without partitions are no lanes."""
    with pytest.raises(ContractError):
        parse_lanes({**ONE.record(ADA, 0, "me"), "partitions": []})
