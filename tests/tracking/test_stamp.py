"""Request ids are read back as they were made, and never taken from anybody else."""

import base64
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.routing.allocation import lay_out
from headway.routing.assignment import NO_HINTS, UnitHints
from headway.routing.route import Arm, Role, Route, Rule
from headway.routing.table import compile_route
from headway.tracking.stamp import (
    DEFAULT,
    NO_EVIDENCE,
    PINNED,
    SINGLE,
    VETOED,
    Flag,
    Stamper,
    flags_of,
)

KEY = bytes(range(32))
STAMPER = Stamper(KEY)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def made(unit: str = "conversation 1", flags: int = 0) -> str:
    return STAMPER.stamp(STAMPER.prefix(77, 1), 1_790_000_000_000, STAMPER.unit_hash(unit), flags)


@given(
    at=st.integers(0, 2**48 - 1),
    revision=st.integers(0, 2**32 - 1),
    arm=st.integers(0, 255),
    slice_=st.integers(0, 255),
    flags=st.integers(0, 255),
    unit=st.integers(-(2**63), 2**63 - 1),
)
def test_stamp_is_read_as_it_was_made(
    at: int, revision: int, arm: int, slice_: int, flags: int, unit: int
) -> None:
    text = STAMPER.stamp(STAMPER.prefix(revision, arm), at, unit, flags, slice_)
    stamp = STAMPER.read(text)
    assert stamp is not None
    assert (stamp.at, stamp.revision_id, stamp.arm, stamp.slice, stamp.unit) == (
        at,
        revision,
        arm,
        slice_,
        unit,
    )
    assert int(stamp.flags) == flags
    assert len(text) == 52
    assert set(text[4:]) <= set(LETTERS)


@given(st.integers(0, 51), st.characters())
def test_any_changed_character_is_refused(place: int, other: str) -> None:
    text = made()
    changed = text[:place] + other + text[place + 1 :]
    assert (STAMPER.read(changed) is None) is (changed != text)


@given(st.text(max_size=60))
def test_foreign_text_is_refused(text: str) -> None:
    assert STAMPER.read(text) is None
    assert STAMPER.read(f"req_{text}") is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text + "A",
        lambda text: text[:-1],
        lambda text: text.replace("req_", "REQ_"),
        lambda text: text[:20] + "\n" + text[21:],
        lambda text: text[:-4] + "====",
        lambda _: "req_" + base64.b64encode(bytes(36)).decode(),
        lambda _: "req_" + base64.b64encode(b"\xff" * 36).decode(),
    ],
)
def test_other_spellings_are_refused(spoil: Callable[[str], str]) -> None:
    assert STAMPER.read(spoil(made())) is None


def test_stamp_of_another_installation_is_refused() -> None:
    assert Stamper(bytes(32)).read(made()) is None


def test_retired_key_is_still_read_while_it_rotates() -> None:
    rotated = Stamper(b"a new key of enough bytes", retired=[KEY])
    old = made()
    assert rotated.read(old) is not None
    assert rotated.read(old) == STAMPER.read(old)
    new = rotated.stamp(rotated.prefix(1, 0), 5, 0)
    assert rotated.read(new) is not None
    assert STAMPER.read(new) is None


def test_layout_is_the_documented_one() -> None:
    stamper = Stamper(KEY, random_bits=lambda _: 0xA1A2A3A4A5)
    text = stamper.stamp(stamper.prefix(0x01020304, 5), 0x0A0B0C0D0E0F, -2, int(Flag.SINGLE), 6)
    raw = base64.urlsafe_b64decode(text.removeprefix("req_"))
    fields = ["01", "0a0b0c0d0e0f", "01020304", "05", "06", "40", "fffffffffffffffe", "a1a2a3a4a5"]
    assert raw[:27].hex() == "".join(fields)
    assert len(raw) == 36


def test_two_requests_of_a_unit_have_two_ids() -> None:
    assert len({made() for _ in range(1_000)}) == 1_000


def test_unit_hash_says_nothing_without_the_key() -> None:
    assert STAMPER.unit_hash("ada") == STAMPER.unit_hash("ada")
    assert STAMPER.unit_hash("ada") != Stamper(bytes(32)).unit_hash("ada")
    assert STAMPER.unit_hash("ada") != STAMPER.unit_hash("adb")


def test_only_ordinary_requests_are_evidence() -> None:
    for flag in Flag:
        stamp = STAMPER.read(made(flags=int(flag)))
        assert stamp is not None
        assert stamp.is_evidence is (flag is Flag.SINGLE)
        assert stamp.single is (flag is Flag.SINGLE)
    assert not NO_EVIDENCE & SINGLE


def test_flags_follow_from_the_assignment() -> None:
    stable = Arm("stable", "1.0.0", "sha256:a", Role.STABLE)
    candidate = Arm("candidate", "1.1.0", "sha256:b", Role.CANDIDATE)
    rule = Rule((stable, candidate), lay_out({"candidate": 9_999, "stable": 1}))
    table = compile_route(Route(model="m", environment="p", rules=(rule,), salt="s"))
    hints = UnitHints(conversation_header="c")
    assert flags_of(table.assign(hints, {}, "r")) == 0
    assert flags_of(table.assign(NO_HINTS, {}, "r", {"candidate"})) == SINGLE | VETOED
    nobody = Rule((stable,), lay_out({"stable": 10_000}), when={"plan": "none"})
    route = Route(model="m", environment="p", rules=(nobody,), salt="s", default="stable")
    assert flags_of(compile_route(route).assign(hints, {}, "r")) == DEFAULT
    assert flags_of(table.pin("1.0.0", "sha256:a", hints, "r"), int(Flag.RETRY)) == (
        PINNED | Flag.RETRY
    )


def test_what_does_not_fit_is_refused_when_it_is_built() -> None:
    for revision, arm in ((2**32, 0), (-1, 0), (1, 256)):
        with pytest.raises(ValueError, match="too large"):
            Stamper.prefix(revision, arm)
    with pytest.raises(ValueError, match="16 to 64 bytes"):
        Stamper(b"short")


@pytest.mark.parametrize(("ours", "theirs"), [("-", "+"), ("_", "/")])
def test_one_request_has_one_spelling(ours: str, theirs: str) -> None:
    text = next(text for text in (made(str(i)) for i in range(1_000)) if ours in text[4:])
    assert STAMPER.read(text) is not None
    assert STAMPER.read("req_" + text[4:].replace(ours, theirs)) is None
