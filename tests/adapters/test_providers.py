"""How versions are made ready to be called."""

from typing import Any

import pytest

from headway.adapters.outbound import Secrets
from headway.adapters.providers.local import Local
from headway.adapters.providers.openai import OpenAI
from headway.gateway.exchange import Prepared, Release
from headway.gateway.ports import Around
from headway.kernel.errors import Refused, Unsupported
from headway.registry.target import target_from_document
from headway.wire.origin import Origin

AROUND = Around(Secrets({"HEADWAY_SECRET_OPENAI": "sk-canary"}).value, "/run/runner.sock")
LOCAL = {"runtime": "onnx", "artifact": "sha256:" + "ab" * 32, "timeouts": {"total": "2s"}}


def release(document: dict[str, Any]) -> Release:
    return Release("bot", "1.0.0+b.1", "sha256:d", "active", target_from_document(document))


def openai(base_url: str, **more: object) -> Prepared:
    document = {"provider": "openai", "base_url": base_url, "model": "gpt", **more}
    return OpenAI().prepare(release(document), AROUND)


@pytest.mark.parametrize(
    ("base_url", "origin", "path", "host"),
    [
        (
            "https://api.openai.com/v1",
            Origin("https", "api.openai.com", 443),
            b"/v1/chat/completions",
            b"api.openai.com",
        ),
        ("http://127.0.0.1:9000", Origin("http", "127.0.0.1", 9000), b"/chat/completions",
         b"127.0.0.1:9000"),
        ("http://[::1]:9000/a/b/", Origin("http", "::1", 9000), b"/a/b/chat/completions",
         b"[::1]:9000"),
    ],
)  # fmt: skip
def test_base_url_says_where_and_under_which_path(
    base_url: str, origin: Origin, path: bytes, host: bytes
) -> None:
    prepared = openai(base_url)
    assert prepared.origin == origin
    head = prepared.native["openai_chat"].head
    assert head.startswith(b"POST %b HTTP/1.1\r\nhost: %b\r\n" % (path, host))
    assert b"authorization" not in head
    assert head.endswith(b"\r\n")
    assert not head.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("base_url", "version", "path", "responses"),
    [
        (
            "https://mine.openai.azure.com/openai/deployments/gpt",
            "2024-10-21",
            b"/openai/deployments/gpt/chat/completions?api-version=2024-10-21",
            False,
        ),
        (
            "https://mine.openai.azure.com/openai/v1",
            None,
            b"/openai/v1/chat/completions",
            True,
        ),
    ],
)
def test_azure_is_called_by_its_path_form_and_its_v1_form(
    base_url: str, version: str | None, path: bytes, *, responses: bool
) -> None:
    secrets = {
        "HEADWAY_SECRET_AZURE": "az-canary",
        "HEADWAY_SECRET_AZURE_HOSTS": "mine.openai.azure.com",
    }
    document = {
        "provider": "openai",
        "base_url": base_url,
        "model": "gpt",
        "credential": "azure",
        "api_version": version,
    }
    prepared = OpenAI().prepare(release(document), Around(Secrets(secrets).value, ""))

    head = prepared.native["openai_chat"].head
    assert head.startswith(b"POST %b HTTP/1.1\r\n" % path)
    assert b"api-key: az-canary\r\n" in head
    assert b"authorization" not in head
    assert ("openai_responses" in prepared.native) is responses


def test_credential_stands_in_the_head_and_in_no_representation() -> None:
    prepared = openai("https://api.openai.com/v1", credential="openai")
    assert b"authorization: Bearer sk-canary\r\n" in prepared.native["openai_chat"].head
    assert "canary" not in repr(prepared)


def test_credential_goes_to_no_other_host() -> None:
    with pytest.raises(Refused, match="HEADWAY_SECRET_OPENAI_HOSTS"):
        openai("https://evil.example/v1", credential="openai")


def test_timeouts_and_settings_are_the_versions_own() -> None:
    prepared = openai(
        "https://api.openai.com/v1",
        timeouts={"connect": "1s", "first": "2s", "idle": "3s", "total": "4s"},
        retries=3,
        parameters={"temperature": 0, "seed": 1},
        locked=["seed"],
    )
    deadlines = prepared.deadlines
    assert (deadlines.connect, deadlines.first_byte, deadlines.idle, deadlines.total) == (
        1, 2, 3, 4,
    )  # fmt: skip
    assert prepared.retries == 3
    assert prepared.native["openai_chat"].settings.parameters == {"temperature": 0}
    assert prepared.native["openai_chat"].settings.locked == {"seed": 1}


def test_local_model_is_named_by_its_artifact_and_told_its_name() -> None:
    prepared = Local().prepare(release(LOCAL), AROUND)
    assert prepared.local
    assert prepared.origin == Origin("unix", "/run/runner.sock")
    assert prepared.deadlines.total == 2
    head = prepared.native["open_inference"].head
    assert head.startswith(b"POST /v2/models/%b/infer HTTP/1.1\r\n" % (b"ab" * 32))
    assert b"headway-model: bot\r\n" in head
    assert b"headway-model-version: 1.0.0+b.1\r\n" in head


def test_provider_refuses_a_target_that_is_not_its_own() -> None:
    with pytest.raises(Unsupported):
        OpenAI().prepare(release(LOCAL), AROUND)
    with pytest.raises(Unsupported):
        document = {"provider": "openai", "base_url": "https://a.example/v1", "model": "m"}
        Local().prepare(release(document), AROUND)
