"""What breaks first on the way to 10,000 numbers, and how large a group's record is."""

from __future__ import annotations

from functools import lru_cache

import pytest
from faust.assignor.client_assignment import ClientAssignment, ClientMetadata

from pipeline.sizing.cluster import cluster_for
from pipeline.sizing.costs import costs
from pipeline.sizing.demand import Demand
from pipeline.sizing.fleet import fleet_for
from pipeline.sizing.limits import Break, Limit, breaks, cells_needed, limits_of
from pipeline.sizing.membership import GATE, SENDER, Group, group_bytes, subscription_bytes

COSTS = costs()
PAPER = Demand(10_000, 1000, 1e9, 5e8)


@lru_cache
def on_paper() -> list[Break]:
    """In which order limits are met on the way to 10,000 numbers."""
    return breaks(PAPER, COSTS, {})


def limits(demand: Demand) -> dict[str, Limit]:
    """By name."""
    fleet = fleet_for(demand, COSTS)
    return {one.name: one for one in limits_of(demand, fleet, cluster_for(demand, fleet, COSTS, {}), COSTS)}


def test_what_breaks_first_on_paper() -> None:
    """At 1,000/s a number, the group records of gates and senders are full first, brokers far later."""
    found = on_paper()
    assert [one.limit.name for one in found[:3]] == [
        "membership of the gates", "membership of the senders", "connections to each broker",
    ]  # fmt: skip
    assert found[0].limit.stops
    assert found[0].numbers < found[2].numbers / 20
    assert [one.numbers for one in found] == sorted(one.numbers for one in found)


def test_a_break_is_the_first_count_that_is_too_many() -> None:
    """One number less is within the limit, and nothing else is beyond its own before the first break."""
    found = on_paper()
    for one in found[:4]:
        assert limits(PAPER.scaled_to(one.numbers))[one.limit.name].utilisation > 1
        if one.numbers > 1:
            assert limits(PAPER.scaled_to(one.numbers - 1))[one.limit.name].utilisation <= 1
    before = limits(PAPER.scaled_to(found[0].numbers - 1))
    assert max(one.utilisation for one in before.values()) <= 1


def test_the_first_to_break_is_the_most_used_just_before() -> None:
    """The bottleneck is the resource with the highest use as the load grows towards the first break."""
    first = on_paper()[0]
    at = limits(PAPER.scaled_to(first.numbers))
    assert max(at, key=lambda name: at[name].utilisation) == first.limit.name


def test_slow_numbers_break_elsewhere() -> None:
    """Many slow numbers share senders, so that lanes are used up where fast numbers would have filled a group."""
    slow = Demand(20_000, 1, 1e6, 1e6)
    names = [one.limit.name for one in breaks(slow, COSTS, {})]
    assert "lanes" in names
    assert breaks(Demand(3, 80, 2e6, 5e5), COSTS, {}) == []


def test_many_opt_outs_are_met() -> None:
    """A list of people is full when more opt out in two hours than it holds; that costs, and stops nothing."""
    demand = Demand(20, 1000, 1e8, 1e8, opt_out_share=0.01)
    opted_out = limits(demand)["opt-outs a sender keeps"]
    assert opted_out.utilisation > 1
    assert not opted_out.stops


def test_parts_are_each_below_the_first_limit() -> None:
    """Cutting the numbers into that many groups leaves each group below its first limit."""
    first = on_paper()[0]
    parts = cells_needed(first, PAPER.numbers)
    largest = -(-PAPER.numbers // parts)
    assert max(one.utilisation for one in limits(PAPER.scaled_to(largest)).values()) <= 1
    assert cells_needed(None, 5) == 1


@pytest.mark.parametrize(("group", "members", "partitions"), [(SENDER, 30, 60), (GATE, 24, 24), (SENDER, 100, 400)])
def test_a_subscription_is_as_large_as_fausts(group: Group, members: int, partitions: int) -> None:
    """The formula is within 10 % of what Faust's own record of a member comes to."""
    hosts = {f"http://wapipe-sender-{n:05d}:6066": n for n in range(members)}

    def of(names: tuple[str, ...], n: int) -> dict[str, list[int]]:
        return {name: list(range(n, partitions, members)) for name in names}

    metadata = ClientMetadata(
        assignment=ClientAssignment(actives=of((*group.topics, *group.tables), 0), standbys={}),
        url=next(iter(hosts)),
        changelog_distribution={url: of(group.tables, n) for url, n in hosts.items()},
        external_topic_distribution={url: of(group.topics, n) for url, n in hosts.items()},
        topic_groups=dict.fromkeys((*group.topics, *group.tables), 0),
    )
    assert subscription_bytes(group, members, partitions) == pytest.approx(len(metadata.dumps()), rel=0.1)


def test_a_group_grows_with_the_square() -> None:
    """Twice the members and twice the lanes are about four times the record."""
    assert group_bytes(SENDER, 200, 400) / group_bytes(SENDER, 100, 200) == pytest.approx(4, rel=0.15)
