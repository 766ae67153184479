"""The smoke check of a version asks its provider as a caller would, and says why it failed."""

from typing import Any

import pytest
from tests.gateway.conftest import Traffic

from headway.adapters.carriers import ThroughGateway
from headway.deployments.checks.smoke import smoke
from headway.registry.model import Version
from headway.registry.signature import Signature
from headway.registry.target import target_from_document
from headway.registry.version import SemVer
from headway.testing.gateway import CHECK_SECRET, route_of
from headway.testing.provider import Reply

PROMPT = {"system": "You work for {{company}}.", "variables": {"company": {}}}


def checked(traffic: Traffic, target: dict[str, Any], signature: Signature | None = None) -> Any:  # noqa: ANN401 - JSON
    """Have control check the version 1.0.0 of `bot`, which no route serves yet."""
    version = Version(
        model="bot",
        number=SemVer(1, 0, 0),
        target=target_from_document(target),
        signature=signature or Signature(),
        components={},
        digest="sha256:1",
        created_at=0,
        created_by="ada",
    )
    traffic.serve(
        route_of("other", [("stable", "1.0.0", 10_000)]), versions={("bot", "1.0.0"): target}
    )
    told = {"model": "bot", "version": "1.0.0", "environment": "production"}
    return ThroughGateway(traffic.gateway.url, CHECK_SECRET).ask(
        {**told, **(smoke.ask(version) or {})}
    )


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({}, "/v1/chat/completions"),
        ({"prompt": PROMPT}, "/v1/chat/completions"),
        ({"apis": ["embeddings"]}, "/v1/embeddings"),
        ({"apis": ["responses"], "prompt": PROMPT}, "/v1/responses"),
        ({"provider": "anthropic"}, "/v1/messages"),
        ({"provider": "anthropic", "prompt": PROMPT}, "/v1/messages"),
    ],
)
def test_a_first_version_of_every_kind_answers_its_check(
    traffic: Traffic, more: dict[str, Any], path: str
) -> None:
    assert checked(traffic, traffic.target(**more)) == {"ok": True, "detail": ""}
    (asked,) = traffic.provider.requests
    (measured,) = traffic.gateway.taken().measurements
    assert measured.arm == "check"
    assert asked.path == path
    assert asked.json["model"] == "gpt-upstream"
    assert "metadata" not in asked.json
    assert asked.system == ("You work for smoke." if "prompt" in more else "")


@pytest.mark.parametrize(
    ("signature", "method", "path"),
    [
        (Signature(), "GET", "/v2/models/digits/ready"),
        (
            Signature(input={"properties": {"x": {"datatype": "FP32", "shape": [1, 2]}}}),
            "POST",
            "/v2/models/digits/infer",
        ),
    ],
)
def test_a_model_of_an_inference_server_is_asked_for_what_is_known_of_it(
    traffic: Traffic, signature: Signature, method: str, path: str
) -> None:
    target = {"provider": "inference_v2", "base_url": traffic.provider.root, "model": "digits"}

    assert checked(traffic, target, signature=signature)["ok"]
    (asked,) = traffic.provider.requests
    assert (asked.method, asked.path) == (method, path)


def test_a_model_that_is_not_ready_fails_its_check(traffic: Traffic) -> None:
    target = {"provider": "inference_v2", "base_url": traffic.provider.root, "model": "digits"}
    traffic.provider.script = lambda _: Reply(status=503, error="loading")

    told = checked(traffic, target)

    assert told["ok"] is False
    assert "answered /v2/models/bot/versions/1.0.0/ready with 503" in told["detail"]


def test_a_check_that_fails_says_in_words_what_came(traffic: Traffic) -> None:
    traffic.provider.script = lambda _: Reply(status=404, error="the model `x` does not exist")

    told = checked(traffic, traffic.target(provider="anthropic"))

    assert told["ok"] is False
    assert told["detail"].startswith("1.0.0 answered /v1/messages with ")
    assert "the model `x` does not exist" in told["detail"]
    assert "{" not in told["detail"]


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (
            Reply(status=404, error="no gpt-9 for org-secret", code="model_not_found"),
            "the provider does not have the model that this version asks for",
        ),
        (
            Reply(status=401, error="no such key: sk-quoted"),
            "the provider answered with status 401: it refuses the credential of this version",
        ),
    ],
)
def test_a_check_says_what_a_newcomer_did_wrong_and_quotes_no_secret(
    traffic: Traffic, reply: Reply, words: str
) -> None:
    traffic.provider.script = lambda _: reply

    told = checked(traffic, traffic.target())

    host = traffic.provider.root.removeprefix("http://")
    assert told["detail"] == (
        f"1.0.0 answered /v1/chat/completions with 502: {words} (its base URL is at {host})"
    )
