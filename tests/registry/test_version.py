"""Versions are numbered by Semantic Versioning 2.0.0, to the letter."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.kernel.errors import Invalid
from headway.registry.version import SemVer, reads_as_version

# The specification's own list, https://semver.org, and its order of precedence (clause 11).
VALID = """0.0.4 1.2.3 10.20.30 1.1.2-prerelease+meta 1.1.2+meta 1.1.2+meta-valid 1.0.0-alpha
1.0.0-beta 1.0.0-alpha.beta 1.0.0-alpha.beta.1 1.0.0-alpha.1 1.0.0-alpha0.valid
1.0.0-alpha.0valid 1.0.0-alpha-a.b-c-somethinglong+build.1-aef.1-its-okay 1.0.0-rc.1+build.1
2.0.0-rc.1+build.123 1.2.3-beta 10.2.3-DEV-SNAPSHOT 1.2.3-SNAPSHOT-123 1.0.0 2.0.0 1.1.7
2.0.0+build.1848 2.0.1-alpha.1227 1.0.0-alpha+beta 1.2.3----RC-SNAPSHOT.12.9.1--.12+788
1.2.3----R-S.12.9.1--.12+meta 1.2.3----RC-SNAPSHOT.12.9.1--.12 1.0.0+0.build.1-rc.10000aaa-kk-0.1
99999999999999999999999.999999999999999999.99999999999999999 1.0.0-0A.is.legal"""
INVALID = """1 1.2 1.2.3-0123 1.2.3-0123.0123 1.1.2+.123 +invalid -invalid -invalid+invalid
-invalid.01 alpha alpha.beta alpha.beta.1 alpha.1 alpha+beta alpha_beta alpha. alpha.. beta
1.0.0-alpha_beta -alpha. 1.0.0-alpha.. 1.0.0-alpha..1 1.0.0-alpha...1 01.1.1 1.01.1 1.1.01
1.2.3.DEV 1.2-SNAPSHOT
1.2.31.2.3----RC-SNAPSHOT.12.09.1--..12+788 1.2-RC-SNAPSHOT -1.0.3-gamma+b7718
+justmeta 9.8.7+meta+meta 9.8.7-whatever+meta+meta v1.2.3"""
ORDER = """0.0.1 0.0.9 0.0.10 0.1.0 1.0.0-0 1.0.0-9 1.0.0-10 1.0.0-alpha 1.0.0-alpha.1
1.0.0-alpha.beta 1.0.0-alpha- 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1 1.0.0 1.0.1
1.9.0 1.10.0
1.99999999999999999999.0 2.0.0 10.0.0"""

numbers = st.integers(0, 10) | st.integers(0, 10**30)
identifiers = st.from_regex(r"\A(0|[1-9][0-9]{0,20}|[0-9]{0,3}[A-Za-z-][0-9A-Za-z-]{0,6})\Z")
builds = st.lists(st.from_regex(r"\A[0-9A-Za-z-]{1,6}\Z"), max_size=3).map(tuple)
versions = st.builds(
    SemVer, numbers, numbers, numbers, st.lists(identifiers, max_size=4).map(tuple), builds
)


@pytest.mark.parametrize("text", VALID.split())
def test_what_the_specification_calls_valid_is_read_and_written_back(text: str) -> None:
    assert str(SemVer.parse(text)) == text


@pytest.mark.parametrize(
    "text", [*INVALID.split(), "", " 1.2.3", "1.2.3\n", "\uff11.2.3", "1.2.3-é", "1" * 300]
)
def test_what_the_specification_calls_invalid_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        SemVer.parse(text)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("1.2", "1.2.0"),
        ("v2", "2.0.0"),
        ("01.2.3-rc.1", "1.2.3-rc.1"),
        ("=1.2.3", "1.2.3"),
        ("latest", "2.4.0-rc.1"),
        ("1.2.3-01", "leading zero"),
    ],
)
def test_a_refusal_says_how_the_number_is_written(text: str, hint: str) -> None:
    with pytest.raises(Invalid, match=hint) as refused:
        SemVer.parse(text, pointer="/version")
    assert refused.value.faults[0].pointer == "/version"


def test_precedence_is_that_of_the_specification() -> None:
    for low, high in pairwise(map(SemVer.parse, ORDER.split())):
        assert low < high
        assert high > low
        assert low != high
        assert low.precedence_key().encode() < high.precedence_key().encode()


def test_build_metadata_makes_no_other_version() -> None:
    one, other = SemVer.parse("1.0.0-rc.1+linux"), SemVer.parse("1.0.0-rc.1+mac.7")
    assert one == other
    assert len({one, other}) == 1
    assert not one < other
    assert one.precedence_key() == other.precedence_key()
    assert str(one.without_build()) == "1.0.0-rc.1"


@given(versions)
def test_every_version_is_read_as_it_is_written(version: SemVer) -> None:
    again = SemVer.parse(str(version))
    assert again == version
    assert again.build == version.build


@given(versions, versions, versions)
def test_precedence_is_a_total_order(a: SemVer, b: SemVer, c: SemVer) -> None:
    assert (a < b) + (a == b) + (b < a) == 1
    if a < b < c:
        assert a < c


@given(versions, versions)
def test_keys_sort_bytewise_as_versions_sort(a: SemVer, b: SemVer) -> None:
    one, other = a.precedence_key().encode("ascii"), b.precedence_key().encode("ascii")
    assert (one < other) == (a < b)
    assert (one == other) == (a == b)


@pytest.mark.parametrize(
    ("text", "major", "minor", "patch"),
    [
        ("1.2.3", "2.0.0", "1.3.0", "1.2.4"),
        ("1.2.3+b", "2.0.0", "1.3.0", "1.2.4"),
        ("0.0.9", "1.0.0", "0.1.0", "0.0.10"),
        ("2.0.0-rc.1", "2.0.0", "2.0.0", "2.0.0"),
        ("2.1.0-rc.1", "3.0.0", "2.1.0", "2.1.0"),
        ("2.1.1-rc.1", "3.0.0", "2.2.0", "2.1.1"),
    ],
)
def test_a_bump_gives_the_next_release(text: str, major: str, minor: str, patch: str) -> None:
    number = SemVer.parse(text)
    assert str(number.bump("major")) == major
    assert str(number.bump("minor")) == minor
    assert str(number.bump("patch")) == patch


@pytest.mark.parametrize("text", ["1", "v1", "1.2", "1.x", "x", "*", "^1", "1.2.3-rc.1", "2024"])
def test_what_reads_as_a_version_is_known(text: str) -> None:
    assert reads_as_version(text)


@pytest.mark.parametrize("text", ["champion", "v", "rc-1", "a1", "latest", "xx", "prod.2"])
def test_what_reads_as_a_word_is_known(text: str) -> None:
    assert not reads_as_version(text)
