"""Targets are read with errors that say where, what was met and what fits."""

import hashlib
from typing import Any

import pytest

from headway.kernel.canonical import Json
from headway.kernel.errors import Invalid
from headway.registry.release import component_digests, release_from_document, version_digest
from headway.registry.signature import Signature
from headway.registry.target import (
    HostedTarget,
    LocalTarget,
    target_from_document,
)

DIGEST = "sha256:" + "ab" * 32
OPENAI: dict[str, Any] = {
    "provider": "openai",
    "base_url": "https://api.openai.com/v1",
    "model": "gpt-5-mini",
    "credential": "openai",
    "parameters": {"temperature": 0.2, "top_p": 1},
    "locked": ["temperature"],
    "prompt": {
        "system": "You are the desk of {{company}}.",
        "variables": {"company": {"default": "Acme"}},
    },
    "tools": [
        {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
    ],
    "timeouts": {"connect": "5s", "first": "30s", "idle": "30s", "total": "10m"},
    "retries": 2,
}
LOCAL: dict[str, Any] = {"runtime": "onnx", "artifact": DIGEST, "timeouts": {"total": "2s"}}


def openai(**changes: object) -> dict[str, Any]:
    return {**OPENAI, **changes}


def test_a_target_is_read_whole() -> None:
    target = target_from_document(OPENAI)

    assert isinstance(target, HostedTarget)
    assert (target.base_url, target.model) == ("https://api.openai.com/v1", "gpt-5-mini")
    assert (target.credential, target.locked, target.retries) == ("openai", ("temperature",), 2)
    assert (target.timeouts.first, target.timeouts.total) == (30_000, 600_000)
    assert target.prompt is not None
    assert target.prompt.fill({}) == "You are the desk of Acme."


def test_what_is_left_out_has_the_usual_value() -> None:
    target = target_from_document(LOCAL)

    assert isinstance(target, LocalTarget)
    times = target.timeouts
    assert (times.connect, times.first, times.idle, times.total) == (5_000, 60_000, 30_000, 2_000)


@pytest.mark.parametrize("document", [OPENAI, LOCAL])
def test_a_target_is_read_again_from_what_it_writes(document: dict[str, Any]) -> None:
    target = target_from_document(document)

    assert target_from_document(target.document()) == target


@pytest.mark.parametrize(
    ("changes", "pointer", "hint"),
    [
        ({"base_ur": 1}, "/base_ur", "did you mean 'base_url'"),
        ({"provider": "openia"}, "/provider", "did you mean 'openai'"),
        ({"runtime": "onnx"}, "", "either a `provider`"),
        ({"model": 5}, "/model", "must be a string, not a number"),
        ({"model": ""}, "/model", "must not be empty"),
        ({"model": "a\x00b"}, "/model", "U\\+0000"),
        ({"parameters": []}, "/parameters", "must be an object, not an array"),
        ({"parameters": {"model": "x"}}, "/parameters/model", "is no parameter"),
        ({"parameters": {"n": 2**60}}, "/parameters/n", "2\\^53"),
        ({"parameters": {"n": float("nan")}}, "/parameters/n", "finite"),
        ({"locked": ["temprature"]}, "/locked/0", "did you mean 'temperature'"),
        ({"timeouts": {"frist": "1s"}}, "/timeouts/frist", "did you mean 'first'"),
        ({"timeouts": {"first": "1x"}}, "/timeouts/first", "no duration"),
        ({"timeouts": {"first": "0s"}}, "/timeouts/first", "out of range"),
        ({"timeouts": {"first": 30}}, "/timeouts/first", "must be a duration"),
        ({"retries": True}, "/retries", "whole number from 0 to 4"),
        ({"retries": 11}, "/retries", "whole number from 0 to 4"),
        ({"tools": [{"type": "function"}]}, "/tools/0/function", "is missing"),
        ({"tools": OPENAI["tools"] * 2}, "/tools/1", "two tools with the name 'look_up'"),
        ({"prompt": {"sytem": "x"}}, "/prompt/sytem", "did you mean 'system'"),
    ],
)
def test_a_mistake_is_refused_where_it_stands(
    changes: dict[str, Any], pointer: str, hint: str
) -> None:
    with pytest.raises(Invalid, match=hint) as refused:
        target_from_document(openai(**changes), pointer="/target")

    assert refused.value.faults[0].pointer == f"/target{pointer}"


def test_all_missing_and_unknown_fields_are_named_at_once() -> None:
    with pytest.raises(Invalid) as refused:
        target_from_document({"provider": "openai", "modell": "x"})

    assert [f.pointer for f in refused.value.faults] == ["/modell", "/base_url", "/model"]


def test_a_misspelt_kind_of_target_is_guessed() -> None:
    with pytest.raises(Invalid, match="did you mean 'runtime' by 'runtme'"):
        target_from_document({"runtme": "onnx", "artifact": DIGEST})


def test_only_installed_runtimes_are_taken_but_any_stored_one_is_read() -> None:
    document = {**LOCAL, "runtime": "onx"}

    with pytest.raises(Invalid, match="did you mean 'onnx'"):
        target_from_document(document, runtimes=["onnx"])
    assert target_from_document(document).document()["runtime"] == "onx"


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1",
        "http://127.0.0.1:11434/v1",
        "http://[::1]:8000",
        "https://vllm.internal:8000/openai/v1",
        "http://localhost:1",
    ],
)
def test_a_base_url_is_taken_without_its_last_slash(url: str) -> None:
    one, other = (target_from_document(openai(base_url=u)) for u in (url, url + "/"))

    assert one == other
    assert isinstance(one, HostedTarget)
    assert one.base_url == url


@pytest.mark.parametrize(
    "url",
    [
        "api.openai.com/v1",
        "ftp://x.org",
        "https://",
        "https://x.org/?a=1",
        "https://x.org/#a",
        "https://0x7f000001/",
        "https://2130706433/",
        "https://127.1/",
        "https://127.0.0.0x1/",
        "https://\uff11\uff12\uff17.0.0.1/",
        "https://x.org:0/",
        "https://x.org:99999/",
        "https://x org/",
        "https://x.org\\@evil.org/",
        "https://[::1",
        "https://-x.org",
        "https://[0:0::1]/",
    ],
)
def test_a_base_url_in_any_other_form_is_refused(url: str) -> None:
    with pytest.raises(Invalid):
        target_from_document(openai(base_url=url))


@pytest.mark.parametrize(
    "changes",
    [
        {"credential": "sk-canary-7f"},
        {"credential": "canary 7f/+"},
        {"base_url": "https://me:canary-7f@api.openai.com/v1"},
    ],
)
def test_a_secret_in_the_wrong_place_is_refused_and_not_quoted(changes: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refused:
        target_from_document(openai(**changes))

    assert "canary" not in str(refused.value)


# Digests


def digests(document: dict[str, Any]) -> tuple[str, dict[str, str]]:
    target = target_from_document(document)
    return version_digest(target, Signature()), component_digests(target, Signature())


def test_equal_targets_have_one_digest_however_they_are_written() -> None:
    other = openai(timeouts={"connect": "5000ms", "first": "0.5m", "total": "600s"})
    other["locked"] = ["temperature", "temperature"]
    other["base_url"] += "/"
    other["parameters"] = {"top_p": 1.0, "temperature": 0.2}
    other["prompt"] = dict(reversed(OPENAI["prompt"].items()))

    assert digests(other) == digests(OPENAI)


def test_the_digest_of_a_version_is_frozen() -> None:
    # Written by hand from RFC 8785, hashed: a change breaks every registry.
    target = target_from_document({"runtime": "onnx", "artifact": DIGEST})
    times = '{"connect":"5s","first":"1m","idle":"30s","total":"10m"}'
    text = (
        '{"signature":{"input":{},"output":{},"parameters":{}},'
        f'"target":{{"artifact":"{DIGEST}","runtime":"onnx","timeouts":{times}}}}}'
    )
    assert version_digest(target, Signature()) == (
        "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    )


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"model": "gpt-5"}, {"target"}),
        ({"credential": "other"}, {"target"}),
        ({"parameters": {"temperature": 0.3, "top_p": 1}}, {"target", "parameters"}),
        ({"locked": []}, {"target", "parameters"}),
        ({"prompt": {"system": "Other."}}, {"target", "prompt"}),
        ({"prompt": None}, {"target", "prompt"}),
        ({"tools": []}, {"target", "tools"}),
        ({"retries": 3}, {"target"}),
    ],
)
def test_component_digests_tell_which_part_differs(
    changes: dict[str, Any], parts: set[str]
) -> None:
    (whole, old), (other, new) = digests(OPENAI), digests(openai(**changes))

    assert whole != other
    assert {n for n in old.keys() | new.keys() if old.get(n) != new.get(n)} == parts


def test_a_local_version_holds_its_artifact_as_a_component() -> None:
    assert digests(LOCAL)[1]["artifact"] == DIGEST


# What a version is registered from


@pytest.mark.parametrize(
    ("document", "pointer", "hint"),
    [
        ({"target": LOCAL}, "/version", "either a number"),
        ({"target": LOCAL, "version": "1.0.0", "bump": "auto"}, "/version", "either a number"),
        ({"target": LOCAL, "version": "1.0"}, "/version", "did you mean 1.0.0"),
        ({"target": LOCAL, "bump": "mayor"}, "/bump", "did you mean 'major'"),
        ({"version": "1.0.0"}, "/target", "is missing"),
        ({"target": LOCAL, "version": "1.0.0", "tag": {}}, "/tag", "did you mean 'tags'"),
        ({"target": LOCAL, "version": "1.0.0", "tags": {"a b": "x"}}, "/tags/a b", "cannot name"),
        ({"target": LOCAL, "version": "1.0.0", "tags": {"a": 1}}, "/tags/a", "must be a string"),
        ({"target": LOCAL, "version": "1.0.0", "tags": {"a": "", "A": ""}}, "/tags/A", "case"),
        (
            {"target": LOCAL, "version": "1.0.0", "signature": {"inputs": {}}},
            "/signature/inputs",
            "did you mean 'input'",
        ),
        ({"target": LOCAL, "version": "1.0.0", "description": "\x1b[2J"}, "/description", "001B"),
        ({"target": LOCAL, "version": "1.0.0", "metadata": []}, "/metadata", "must be an object"),
        ([], "", "must be an object, not an array"),
        ("x", "", "must be an object, not a string"),
    ],
)
def test_a_wrong_version_is_refused_where_it_is_wrong(
    document: Json, pointer: str, hint: str
) -> None:
    with pytest.raises(Invalid, match=hint) as refused:
        release_from_document(document)

    assert refused.value.faults[0].pointer == pointer


def test_sixty_four_tags_are_taken_and_no_more() -> None:
    tags = {f"t{n}": "x" for n in range(64)}
    document: dict[str, Json] = {"target": LOCAL, "version": "1.0.0", "tags": tags}
    assert release_from_document(document).tags == tags

    with pytest.raises(Invalid, match="at most 64"):
        release_from_document({**document, "tags": {**tags, "more": ""}})
