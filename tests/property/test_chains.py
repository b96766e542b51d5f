"""Chains keep the order of sources for any order of arrival, and never put anything before what may have gone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.records.ready import ReadyMessage
from pipeline.sender.jobs import Chains, Job, Stage


def _job(offset: int, *, unknown: bool = False, partition: int = 0, at_ms: int = 0) -> Job:
    source = "outbound-requests", partition, offset
    message = ReadyMessage(
        {}, f"r{offset}", "15550109999", "utility", "normal", "2#0", source, at_ms, 0, 1, 1, 0, 0, unknown, False, None,
        0, False,
    )  # fmt: skip
    return Job(message, 1)


@given(st.permutations(range(12)))
def test_waiting_jobs_stand_in_the_order_of_their_sources(arrivals: list[int]) -> None:
    """Whatever the order of arrival, the chain is in source order as long as nothing is in hand."""
    chains = Chains(3)
    for offset in arrivals:
        chain = chains.add(_job(offset))
    assert [job.message.source[2] for job in chain.jobs] == sorted(arrivals)


@given(st.permutations([(0, 0, 900), (5, 0, 901), (5, 12, 0), (9, 12, 1), (9, 3, 0), (20, 12, 2)]))
def test_sources_of_two_partitions_stand_in_the_order_of_time(arrivals: list[tuple[int, int, int]]) -> None:
    """A person who moved to another partition has sources with small offsets after those with large ones."""
    chains = Chains(3)
    for at_ms, partition, offset in arrivals:
        chain = chains.add(_job(offset, partition=partition, at_ms=at_ms))
    sources = [(job.message.source_ms, *job.message.source[1:]) for job in chain.jobs]
    assert sources == [(0, 0, 900), (5, 0, 901), (5, 12, 0), (9, 3, 0), (9, 12, 1), (20, 12, 2)]


@given(st.permutations([(900, 0), (901, 1), (400, 2), (0, 3), (400, 4)]))
def test_a_clock_that_steps_back_disorders_nothing(arrivals: list[tuple[int, int]]) -> None:
    """A new leader's clock may be behind: within one partition offsets tell, not times."""
    chains = Chains(3)
    for at_ms, offset in arrivals:
        chain = chains.add(_job(offset, at_ms=at_ms))
    assert [job.message.source[2] for job in chain.jobs] == [0, 1, 2, 3, 4]


@given(st.permutations(range(12)), st.integers(0, 11))
def test_a_job_in_hand_stays_first(arrivals: list[int], taken: int) -> None:
    """Nobody is put before a message that is in hand, and the rest is in order."""
    chains = Chains(3)
    first = _job(taken)
    chain = chains.add(first)
    first.stage = Stage.IN_HAND
    for offset in arrivals:
        if offset != taken:
            chains.add(_job(offset))
    rest = [job.message.source[2] for job in chain.jobs[1:]]
    assert chain.head is first
    assert rest == sorted(rest)


@given(st.permutations(range(8)), st.sets(st.integers(0, 7), max_size=1))
def test_an_unknown_outcome_goes_first(arrivals: list[int], unknown: set[int]) -> None:
    """A message of unknown outcome may have gone already: it is resolved before any other of its chain."""
    chains = Chains(3)
    for offset in arrivals:
        chain = chains.add(_job(offset, unknown=offset in unknown))
    found = [job.message.source[2] for job in chain.jobs]
    assert found == [*unknown, *sorted(set(arrivals) - unknown)]


@given(st.lists(st.integers(0, 30), unique=True, min_size=1, max_size=10))
def test_removing_jobs_empties_the_lane(offsets: list[int]) -> None:
    """When every job has left, nothing of its chain is left either."""
    chains = Chains(3)
    jobs = [_job(offset) for offset in offsets]
    for job in jobs:
        chains.add(job)
    left = [chains.remove(job) for job in jobs]
    assert left[-1] is None
    assert len(chains) == 0
