"""Ranges mean what node-semver documents."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.kernel.errors import Invalid
from headway.registry.requirement import Requirement
from headway.registry.version import SemVer

# What node-semver's documentation says that each range is short for.
SHORT_FOR = [
    ("1.2.3 - 2.3.4", ">=1.2.3 <=2.3.4"),
    ("1.2 - 2.3.4", ">=1.2.0 <=2.3.4"),
    ("1.2.3 - 2.3", ">=1.2.3 <2.4.0-0"),
    ("1.2.3 - 2", ">=1.2.3 <3.0.0-0"),
    ("1 - 2", ">=1.0.0 <3.0.0-0"),
    ("x - 1.0.0", "<=1.0.0"),
    ("x - 1.x", "<2.0.0-0"),
    ("1.0.0 - x", ">=1.0.0"),
    ("1.x - x", ">=1.0.0"),
    ("*", "*"),
    ("", "*"),
    ("  ", "*"),
    ("||", "*"),
    ("^1.2.3-rc || *", "*"),
    (">=*", "*"),
    ("x", "*"),
    ("~x", "*"),
    ("^x", "*"),
    ("1.x", ">=1.0.0 <2.0.0-0"),
    ("1.2.x", ">=1.2.0 <1.3.0-0"),
    ("1", ">=1.0.0 <2.0.0-0"),
    ("1.2", ">=1.2.0 <1.3.0-0"),
    ("2.*.*", ">=2.0.0 <3.0.0-0"),
    ("1.x.3", ">=1.0.0 <2.0.0-0"),
    ("~1.2.3", ">=1.2.3 <1.3.0-0"),
    ("~1.2", ">=1.2.0 <1.3.0-0"),
    ("~1", ">=1.0.0 <2.0.0-0"),
    ("~0.2.3", ">=0.2.3 <0.3.0-0"),
    ("~0", "<1.0.0-0"),
    ("~1.2.3-beta.2", ">=1.2.3-beta.2 <1.3.0-0"),
    ("~>3.2.1", ">=3.2.1 <3.3.0-0"),
    ("~> 1", ">=1.0.0 <2.0.0-0"),
    ("~ 1.0", ">=1.0.0 <1.1.0-0"),
    ("^1.2.3", ">=1.2.3 <2.0.0-0"),
    ("^0.2.3", ">=0.2.3 <0.3.0-0"),
    ("^0.0.3", ">=0.0.3 <0.0.4-0"),
    ("^1.2.3-beta.2", ">=1.2.3-beta.2 <2.0.0-0"),
    ("^0.0.3-beta", ">=0.0.3-beta <0.0.4-0"),
    ("^1.2.x", ">=1.2.0 <2.0.0-0"),
    ("^0.0.x", "<0.1.0-0"),
    ("^0.0", "<0.1.0-0"),
    ("^0.1", ">=0.1.0 <0.2.0-0"),
    ("^1.x", ">=1.0.0 <2.0.0-0"),
    ("^0.x", "<1.0.0-0"),
    ("^ 1", ">=1.0.0 <2.0.0-0"),
    ("^ 1.2 ^ 1", ">=1.2.0 <2.0.0-0 >=1.0.0"),
    ("^1.2.3+build", ">=1.2.3 <2.0.0-0"),
    (">1", ">=2.0.0"),
    (">1.2", ">=1.3.0"),
    (">= 1", ">=1.0.0"),
    ("<1", "<1.0.0-0"),
    ("< 1.2", "<1.2.0-0"),
    ("<=0.7.x", "<0.8.0-0"),
    ("<=7.x", "<8.0.0-0"),
    ("=0.7.x", ">=0.7.0 <0.8.0-0"),
    (">X", "<0.0.0-0"),
    ("<\t2.0.0", "<2.0.0"),
    (">=   1.0.0", ">=1.0.0"),
    ("=1.2.3", "1.2.3"),
    ("v1.2.3", "1.2.3"),
    (">=v1.2.3", ">=1.2.3"),
    ("0.1.20 || 1.2.4", "0.1.20||1.2.4"),
    (">=0.2.3 || <0.0.1", ">=0.2.3||<0.0.1"),
    ("1.2.x || 2.x", ">=1.2.0 <1.3.0-0||>=2.0.0 <3.0.0-0"),
]

ALLOWED = """1.0.0 - 2.0.0 @ 1.2.3
^1.2.3+build @ 1.3.0
1.2.3-pre+asdf - 2.4.3-pre+asdf @ 1.2.3
1.2.3-pre+asdf - 2.4.3-pre+asdf @ 1.2.3-pre.2
1.2.3-pre+asdf - 2.4.3-pre+asdf @ 2.4.3-alpha
1.2.3+asdf - 2.4.3+asdf @ 1.2.3
1.0.0 @ 1.0.0
1.0.0 @ 1.0.0+build.7
 @ 1.0.0
>1.0.0 @ 1.1.0
<=2.0.0 @ 1.9999.9999
<2.0.0 @ 0.2.9
>=0.2.3 || <0.0.1 @ 0.0.0
|| @ 1.3.4
2.x.x @ 2.1.3
~0.0.1 @ 0.0.2
~2.4 @ 2.4.5
~ 1.0.3 @ 1.0.12
~v0.5.4-pre @ 0.5.5
~v0.5.4-pre @ 0.5.4
<=0.7.x @ 0.7.2
<=0.7.x @ 0.6.2
~1.2.1 >=1.2.3 @ 1.2.3
~1.2.1 =1.2.3 @ 1.2.3
~1.2.1 1.2.3 >=1.2.3 @ 1.2.3
^1.2.3 @ 1.8.1
^0.0.1 @ 0.0.1
^1.2 ^1 @ 1.4.2
^1.2.3-alpha @ 1.2.3-pre
^1.2.0-alpha @ 1.2.0-pre
^0.0.1-alpha @ 0.0.1-beta
^0.0.1-alpha @ 0.0.1
>1.2.3-alpha.3 @ 1.2.3-alpha.7
>1.2.3-alpha.3 @ 3.4.5
x - 1.x @ 0.9.7"""

REFUSED = """1.0.0 - 2.0.0 @ 2.2.3
1.2.3+asdf - 2.4.3+asdf @ 1.2.3-pre.2
1.2.3+asdf - 2.4.3+asdf @ 2.4.3-alpha
^1.2.3+build @ 2.0.0
^1.2.3 @ 1.2.3-pre
^1.2 @ 1.2.0-pre
>1.2 @ 1.3.0-beta
<=1.2.3 @ 1.2.3-beta
=0.7.x @ 0.7.0-asdf
>=0.7.x @ 0.7.0-asdf
1.0.0 @ 1.0.1
>=0.2.3 || <0.0.1 @ 0.0.3
1.2.x || 2.x @ 3.1.3
~0.0.1 @ 0.1.0-alpha
~2.4 @ 2.5.0
~>3.2.1 @ 3.2.0
<1 @ 1.0.0
~v0.5.4-beta @ 0.5.4-alpha
>1.2 @ 1.2.8
^0.0.1 @ 0.0.2-alpha
^0.0.1 @ 0.0.2
^1.2.3 @ 2.0.0-alpha
^1.0.0 @ 2.0.0-rc1
* @ 1.2.3-foo
>1.2.3-alpha.3 @ 3.4.5-alpha.9
^1.2.3-beta.2 @ 1.2.4-beta.2
>X @ 0.0.0
2.x @ 3.0.0-pre.0"""


def cases(table: str) -> list[tuple[str, str]]:
    pairs = [line.rpartition(" @ ") for line in table.split("\n")]
    return [(required, version) for required, _, version in pairs]


@pytest.mark.parametrize(("short", "long"), SHORT_FOR)
def test_a_range_is_short_for_its_bounds(short: str, long: str) -> None:
    assert str(Requirement.parse(short)) == long


@pytest.mark.parametrize(("required", "version"), cases(ALLOWED))
def test_a_range_allows(required: str, version: str) -> None:
    assert Requirement.parse(required).allows(SemVer.parse(version))


@pytest.mark.parametrize(("required", "version"), cases(REFUSED))
def test_a_range_refuses(required: str, version: str) -> None:
    assert not Requirement.parse(required).allows(SemVer.parse(version))


@pytest.mark.parametrize(
    "text",
    [
        ">01.02.03",
        "~1.2.3beta",
        "^1.2.3 beta",
        "^^1",
        "1.2.3.4",
        "blerg",
        ">",
        "1 -2",
        "1 - 2 - 3",
        "1.2.3 | 2",
        "^1 &&",
        "1.x-rc",
        "^1." + "9" * 2000,
        " ".join(f"^{n}" for n in range(100)),
    ],
)
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        Requirement.parse(text)


def test_the_best_is_the_highest_that_is_allowed() -> None:
    numbers = [SemVer.parse(t) for t in ("1.2.0", "1.10.0", "1.9.9", "1.11.0-rc.1", "2.0.0")]

    assert str(Requirement.parse("^1").best(numbers)) == "1.10.0"
    assert Requirement.parse("^3").best(numbers) is None


@given(st.text(alphabet="0123456789.xX*^~<>=|- v+abZ\t", max_size=40) | st.text(max_size=40))
def test_any_text_is_a_range_or_refused_as_invalid(text: str) -> None:
    try:
        required = Requirement.parse(text)
    except Invalid:
        return
    required.allows(SemVer(1, 2, 3))
    assert str(Requirement.parse(str(required))) == str(required)


parts = st.integers(0, 3)


@given(parts, parts, parts, parts, parts, parts)
def test_a_caret_never_reaches_beyond_the_first_part_that_is_not_zero(
    a: int, b: int, c: int, x: int, y: int, z: int
) -> None:
    low, number = (a, b, c), (x, y, z)
    leading = next((i for i, part in enumerate(low) if part), 2)
    kept = low[: leading + 1] == number[: leading + 1]

    allowed = Requirement.parse(f"^{a}.{b}.{c}").allows(SemVer(x, y, z))

    assert allowed == (kept and number >= low)
