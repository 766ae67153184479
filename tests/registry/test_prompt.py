"""Prompt templates know names and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.kernel.canonical import Json
from headway.kernel.errors import Invalid
from headway.registry.prompt import Prompt, Template, Variable, prompt_from_document


def test_names_are_filled_in() -> None:
    template = Template.parse("You are {{company}}'s desk in {{ city }}. {{company}}!")

    assert template.names == {"company", "city"}
    filled = template.fill({"company": "Acme", "city": "Oslo", "other": "-"})
    assert filled == "You are Acme's desk in Oslo. Acme!"


def test_what_was_filled_in_is_never_looked_at_again() -> None:
    filled = Template.parse("{{a}}{{b}}").fill({"a": "{{b}}", "b": r"\{{ {% x %} {{a}}"})

    assert filled == r"{{b}}\{{ {% x %} {{a}}"


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        (r"\{{ name }}", "{{ name }}"),
        (r"\{{{{x}}", "{{1"),
        ("{x} }} {", "{x} }} {"),
        ("", ""),
        ("{% if x %}", "{% if x %}"),
        (r"a \ b \\{{x}}", r"a \ b \{{x}}"),
    ],
)
def test_only_two_braces_mean_something(text: str, filled: str) -> None:
    assert Template.parse(text).fill({"x": "1"}) == filled


@pytest.mark.parametrize(
    "text",
    [
        "{{",
        "{{ x",
        "{{}}",
        "{{ x.y }}",
        "{{ x | upper }}",
        "{{ 1x }}",
        "{{x}",
        "{{ x\n}}",
        "{{{x}}}",
        "{{ ''.__class__ }}",
        "{{ x + 1 }}",
        "{{ näme }}",
    ],
)
def test_expressions_and_open_braces_are_refused(text: str) -> None:
    with pytest.raises(Invalid):
        Template.parse(text)


def test_a_missing_value_is_named() -> None:
    with pytest.raises(Invalid, match="city, company"):
        Template.parse("{{company}} {{city}}").fill({})


def test_defaults_fill_in_for_what_a_request_does_not_bring() -> None:
    prompt = Prompt("{{company}} in {{city}}", {"company": Variable("Acme"), "city": Variable()})

    assert prompt.fill({"city": "Oslo"}) == "Acme in Oslo"
    assert prompt.fill({"city": "Oslo", "company": "Bolt"}) == "Bolt in Oslo"


def test_an_undeclared_name_is_refused_with_the_nearest_declared_one() -> None:
    document: Json = {"system": "{{compnay}}", "variables": {"company": {"default": "Acme"}}}

    with pytest.raises(Invalid, match="did you mean 'company'") as refused:
        prompt_from_document(document, pointer="/target/prompt")

    assert refused.value.faults[0].pointer == "/target/prompt/system"


def test_a_prompt_is_written_as_it_was_read() -> None:
    document: Json = {
        "system": "Hello {{company}}, {{city}}",
        "variables": {"company": {"default": "Acme"}, "city": {"description": "where"}},
    }

    assert prompt_from_document(document).document() == document


@given(st.text(alphabet="{} \\xab\n", max_size=30))
def test_any_text_is_a_template_or_refused_as_invalid(text: str) -> None:
    try:
        template = Template.parse(text)
    except Invalid:
        return
    template.fill(dict.fromkeys(template.names, ""))


@given(st.text(max_size=50))
def test_a_value_comes_out_as_it_went_in(value: str) -> None:
    assert Template.parse("<{{x}}>").fill({"x": value}) == f"<{value}>"
