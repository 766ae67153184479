"""Words that are not known are told with the nearest one that is."""

from headway.kernel.names import unknown_word


def test_the_nearest_word_and_all_others_are_told() -> None:
    said = unknown_word("stabel", ["stable", "candidate"], what="arm")
    assert said == "unknown arm 'stabel'; did you mean 'stable'? (there are: candidate, stable)"


def test_where_there_are_no_words_it_says_so() -> None:
    assert unknown_word("name", [], what="variable") == "unknown variable 'name' (there are none)"
