"""murmur2, bit for bit as the Java client computes it, for keys and shards."""

from __future__ import annotations

from collections import Counter

import pytest

from pipeline.streams.partition import murmur2, partition_of, shard_of

# org.apache.kafka.common.utils.UtilsTest.testMurmur2
JAVA = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


@pytest.mark.parametrize(("text", "java"), JAVA.items())
def test_hash_is_javas(text: str, java: int) -> None:
    """The vectors of Kafka's own test, whose int is signed."""
    assert murmur2(text.encode()) == java & 0xFFFFFFFF


def test_hash_is_defined_for_any_length() -> None:
    """Every length of the tail, the empty key and bytes above 127 give a 32-bit number."""
    hashes = [murmur2(b"\xff" * length) for length in range(20)]
    assert len(set(hashes)) == 20
    assert all(0 <= value < 2**32 for value in hashes)


def test_partition_is_javas() -> None:
    """The sign bit is masked, not negated, before the remainder is taken."""
    for text, java in JAVA.items():
        assert partition_of(text, 12) == (java & 0x7FFFFFFF) % 12


def test_keys_are_utf8() -> None:
    """A key beyond ASCII is hashed as the bytes that stand on the topic."""
    assert partition_of("città", 1000) == (murmur2("città".encode()) & 0x7FFFFFFF) % 1000


def test_shards_of_one_partition_spread() -> None:
    """Recipients that share a partition are spread over all shards of a number, about evenly."""
    people = [str(15550000000 + i) for i in range(20_000)]
    together = [person for person in people if partition_of(person, 4) == 1]
    counts = Counter(shard_of(person, 4) for person in together)
    assert set(counts) == {0, 1, 2, 3}
    assert max(counts.values()) < 1.2 * min(counts.values())


def test_one_shard_takes_everybody() -> None:
    """A number with one lane needs no hash."""
    assert {shard_of(str(i), 1) for i in range(100)} == {0}
