"""Buckets stay where they are; shares move the fewest of them."""

import json
from collections import Counter
from pathlib import Path

import mmh3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.routing.murmur import murmur3_x86_32

from headway.kernel.errors import Invalid
from headway.routing.allocation import bucket, lay_out, reshare
from headway.routing.route import Segment

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text(encoding="utf-8"))
ARMS = ("stable", "candidate", "third", "fourth")


def owners(segments: tuple[Segment, ...]) -> list[str]:
    """Return the arm of each bucket."""
    return [segment.arm for segment in segments for _ in range(segment.share_bp)]


@st.composite
def shares(draw: st.DrawFn) -> dict[str, int]:
    arms = draw(st.lists(st.sampled_from(ARMS), min_size=1, max_size=4, unique=True))
    cuts = draw(
        st.lists(
            st.integers(1, 9_999), min_size=len(arms) - 1, max_size=len(arms) - 1, unique=True
        )
    )
    edges = [0, *sorted(cuts), 10_000]
    return {arm: high - low for arm, low, high in zip(arms, edges, edges[1:], strict=False)}


@pytest.mark.parametrize(("salt", "unit", "wanted"), VECTORS)
def test_buckets_are_frozen(salt: str, unit: str, wanted: int) -> None:
    assert bucket(salt, unit) == wanted


def test_murmur_of_the_vectors_agrees_with_the_published_ones() -> None:
    assert murmur3_x86_32(b"") == 0
    assert murmur3_x86_32(b"", 1) == 0x514E28B7
    assert murmur3_x86_32(b"test", 0x9747B28C) == 0x704B81DC
    assert murmur3_x86_32(b"The quick brown fox jumps over the lazy dog") == 0x2E4FF723


@given(st.binary(max_size=50))
def test_library_hashes_as_published(data: bytes) -> None:
    assert mmh3.hash(data, 0, signed=False) == murmur3_x86_32(data)


def test_text_that_is_no_unicode_has_a_bucket() -> None:
    assert 0 <= bucket("salt", "half a pair: \ud83d") < 10_000


def test_ten_percent_of_many_units_are_on_a_ten_percent_candidate() -> None:
    arms = owners(lay_out({"stable": 9_000, "candidate": 1_000}))
    for salt in ("dep_1", "dep_2", "dep_3"):
        seen = Counter(arms[bucket(salt, f"conversation-{i}")] for i in range(10_000))
        assert 800 <= seen["candidate"] <= 1_200


@given(st.text(max_size=40), st.text(max_size=40))
def test_each_unit_has_one_of_ten_thousand_buckets(salt: str, unit: str) -> None:
    assert 0 <= bucket(salt, unit) < 10_000


@given(st.lists(st.integers(1, 9_999), min_size=1, max_size=8, unique=True))
def test_growth_never_moves_a_unit_off_the_candidate(steps: list[int]) -> None:
    segments = lay_out({"stable": 10_000})
    before: set[int] = set()
    for share in sorted(steps):
        segments = reshare(segments, {"stable": 10_000 - share, "candidate": share})
        now = {place for place, arm in enumerate(owners(segments)) if arm == "candidate"}
        assert before < now
        assert len(now) == share
        assert len(segments) == 2
        before = now


def test_candidate_may_take_everything() -> None:
    segments = lay_out({"stable": 5_000, "candidate": 5_000})
    assert reshare(segments, {"candidate": 10_000}) == (Segment("candidate", 10_000),)


@given(st.lists(shares(), min_size=2, max_size=6))
def test_no_more_buckets_move_than_must(wanted: list[dict[str, int]]) -> None:
    segments = lay_out(wanted[0])
    for one in wanted[1:]:
        before = owners(segments)
        segments = reshare(segments, one)
        after = owners(segments)
        assert Counter(after) == Counter(one)
        moved = sum(old != new for old, new in zip(before, after, strict=True))
        had = Counter(before)
        assert moved == sum(max(0, share - had[arm]) for arm, share in one.items())
        # Nobody who keeps or gains buckets loses one of those that it had.
        for old, new in zip(before, after, strict=True):
            if old != new:
                assert one.get(old, 0) < had[old]


@given(st.lists(st.integers(1, 9_999), min_size=2, max_size=5, unique=True))
def test_shares_that_shrink_again_give_back_what_came_last(steps: list[int]) -> None:
    def at(share: int) -> dict[str, int]:
        return {"stable": 10_000 - share, "candidate": share}

    first, *more = sorted(steps)
    start = segments = lay_out(at(first))
    for share in [*more, *reversed(more), first]:
        segments = reshare(segments, at(share))
    assert segments == start


@pytest.mark.parametrize(
    "wrong", [{"a": 9_999}, {"a": 10_000, "b": 0}, {"a": 10_001, "b": -1}, {}]
)
def test_shares_that_are_no_whole_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(Invalid):
        reshare((Segment("a", 10_000),), wrong)
