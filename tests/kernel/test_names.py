"""Words that are not known are told with the nearest one; free text is taken as it is."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.kernel.errors import Invalid
from headway.kernel.names import check_text, folded, unknown_word

NO_TEXT = {"Cc", "Cs"}
"""What Unicode calls control characters and surrogates."""


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=40))
def test_text_of_any_script_comes_back_as_it_was(text: str) -> None:
    assert check_text(f"{text}\n\t") == f"{text}\n\t"


@pytest.mark.parametrize("code", [*range(0xA1), 0xD7FF, 0xD800, 0xDFFF, 0xE000, 0x10FFFF])
def test_a_control_character_is_named_but_newline_and_tab_are_taken(code: int) -> None:
    char = chr(code)
    if unicodedata.category(char) not in NO_TEXT or char in "\n\t":
        assert check_text(f"a{char}b") == f"a{char}b"
        return
    with pytest.raises(Invalid, match=f"U\\+{code:04X}"):
        check_text(f"a{char}b")


def test_the_nearest_word_and_all_others_are_told() -> None:
    said = unknown_word("stabel", ["stable", "candidate"], what="arm")
    assert said == "unknown arm 'stabel'; did you mean 'stable'? (there are: candidate, stable)"


def test_where_there_are_no_words_it_says_so() -> None:
    assert unknown_word("name", [], what="variable") == "unknown variable 'name' (there are none)"


@pytest.mark.parametrize("name", ["bo\N{KELVIN SIGN}", "\u017ftyle", "gro\xdf", "\ufb01t"])
def test_no_name_of_other_letters_is_another_in_lower_case(name: str) -> None:
    assert folded("Bot-K") == "bot-k"
    assert folded(name) == name
