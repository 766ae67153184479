"""What a caller with the official client meets: answers, headers, pins, refusals."""

import http.client
import json
from typing import Any

import openai
import pytest

from headway.auth.key import Secret
from headway.testing.gateway import CHECK_SECRET, key_entry, route_of
from headway.testing.provider import Received, Reply

from .conftest import Traffic

HELLO: Any = [{"role": "user", "content": "hello there"}]


def raw(
    traffic: Traffic,
    method: str,
    path: str,
    body: bytes | None = None,
    **headers: str,
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", traffic.gateway.port, timeout=10)
    fields = {"authorization": f"Bearer {traffic.gateway.key}"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, fields)
    answer = connection.getresponse()
    found = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    connection.close()
    return found


def chat(traffic: Traffic, model: str = "bot", **headers: str) -> tuple[int, dict[str, str], Any]:
    body = json.dumps({"model": model, "messages": HELLO}).encode()
    status, fields, answer = raw(traffic, "POST", "/v1/chat/completions", body, **headers)
    return status, fields, json.loads(answer)


def test_answer_names_its_version_route_and_request(traffic: Traffic) -> None:
    traffic.provider.script = lambda _: Reply(headers={"x-request-id": "up-7"})
    answer = traffic.client().chat.completions.with_raw_response.create(
        model="bot", messages=HELLO
    )
    assert answer.parse().choices[0].message.content == Reply().text
    fields = answer.headers
    assert fields["headway-version"] == "1.0.0"
    assert fields["headway-route-revision"] == "1"
    assert fields["headway-upstream-request-id"] == "up-7"
    assert fields["x-request-id"] == fields["request-id"]
    stamp = traffic.gateway.stamper.read(fields["x-request-id"])
    assert stamp is not None
    assert (stamp.revision_id, stamp.arm, stamp.single) == (1, 0, True)


def test_upstream_gets_the_versions_model_and_credential_and_nothing_of_the_callers(
    traffic: Traffic,
) -> None:
    chat(
        traffic,
        cookie="session=1",
        x_forwarded_for="1.2.3.4",
        headway_conversation="c-1",
        traceparent="00-1-1-01",
        openai_organization="org-1",
        x_request_id="mine-1",
    )
    (received,) = traffic.provider.requests
    assert received.path == "/v1/chat/completions"
    assert received.json == {"model": "gpt-upstream", "messages": HELLO}
    fields = received.headers
    assert fields["authorization"] == "Bearer sk-canary-test"
    assert fields["traceparent"] == "00-1-1-01"
    assert fields["openai-organization"] == "org-1"
    assert fields["x-request-id"] == "mine-1"
    assert not {"cookie", "x-forwarded-for", "headway-conversation", "x-api-key"} & fields.keys()


def test_list_in_several_fields_goes_up_whole(traffic: Traffic) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", traffic.gateway.port, timeout=10)
    body = json.dumps({"model": "bot", "messages": HELLO}).encode()
    connection.putrequest("POST", "/v1/chat/completions")
    connection.putheader("authorization", f"Bearer {traffic.gateway.key}")
    connection.putheader("content-length", str(len(body)))
    connection.putheader("tracestate", "first=1")
    connection.putheader("tracestate", "second=2")
    connection.endheaders(body)
    assert connection.getresponse().status == 200
    connection.close()
    (received,) = traffic.provider.requests
    # The scripted provider keeps the last of several; a gateway that sends one sends the first.
    assert received.headers["tracestate"] == "second=2"


def test_stream_passes_and_ends(traffic: Traffic) -> None:
    stream = traffic.client().chat.completions.create(model="bot", messages=HELLO, stream=True)
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == Reply().text
    assert all(c.choices for c in chunks)
    asked = traffic.provider.requests[0].json
    assert asked["stream_options"] == {"include_usage": True}
    (measured,) = traffic.gateway.taken().measurements
    assert measured.outcomes == {"ok": 1}
    assert measured.tokens == {"input": 2, "output": 8}
    assert measured.first.n == 1
    assert measured.served_by == {"gpt-upstream fp_scripted": 1}


def test_usage_of_a_stream_reaches_who_asked(traffic: Traffic) -> None:
    stream = traffic.client().chat.completions.create(
        model="bot", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    last = list(stream)[-1]
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == 8


def test_usage_of_an_answer_is_measured(traffic: Traffic) -> None:
    traffic.provider.script = lambda _: Reply(cached_tokens=1)
    chat(traffic)
    (measured,) = traffic.gateway.taken().measurements
    assert measured.tokens == {"input": 2, "output": 8, "cached": 1}
    assert measured.latency.n == 1


def test_version_brings_its_prompt_parameters_and_tools(traffic: Traffic) -> None:
    tool = {"type": "function", "function": {"name": "search"}}
    target = traffic.target(
        prompt={
            "system": "Desk of {{company}}.",
            "variables": {"company": {"default": "Acme"}},
        },
        parameters={"temperature": 0.2, "seed": 1},
        locked=["temperature"],
        tools=[tool],
    )
    traffic.serve(versions={("bot", "1.0.0"): target})
    traffic.client().chat.completions.create(
        model="bot", messages=HELLO, temperature=1, metadata={"company": "Ümlaut"}
    )
    asked = traffic.provider.requests[0].json
    assert asked["messages"] == [{"role": "system", "content": "Desk of Ümlaut."}, *HELLO]
    assert (asked["temperature"], asked["seed"]) == (0.2, 1)
    assert asked["tools"] == [tool]


def two_versions(traffic: Traffic, share: int = 5_000) -> None:
    traffic.serve(
        route_of("bot", [("stable", "1.0.0", 10_000 - share), ("candidate", "1.1.0", share)]),
        versions={
            ("bot", "1.0.0"): traffic.target(model="old"),
            ("bot", "1.1.0"): traffic.target(model="new"),
            ("bot", "1.2.0"): traffic.target(model="newest"),
            ("bot", "2.0.0-rc.1"): traffic.target(model="early"),
        },
        aliases={("bot", "champion"): "1.1.0"},
    )


def test_conversation_stays_on_its_arm(traffic: Traffic) -> None:
    two_versions(traffic)
    for conversation in "abcdefgh":
        seen = {
            chat(traffic, headway_conversation=conversation)[1]["headway-version"]
            for _ in range(4)
        }
        assert len(seen) == 1
    seen = {chat(traffic, headway_conversation=f"c{n}")[1]["headway-version"] for n in range(40)}
    assert seen == {"1.0.0", "1.1.0"}


@pytest.mark.parametrize(
    ("model", "version"),
    [
        ("bot@1.0.0", "1.0.0"),
        ("bot@1.2.0", "1.2.0"),
        ("bot@champion", "1.1.0"),
        ("BOT@Champion", "1.1.0"),
        ("bot@latest", "1.2.0"),
        ("bot@^1.0", "1.2.0"),
        ("bot@~1.1.0", "1.1.0"),
        ("bot@2.0.0-rc.1", "2.0.0-rc.1"),
    ],
)
def test_model_may_pin_its_version(traffic: Traffic, model: str, version: str) -> None:
    two_versions(traffic)
    status, fields, _ = chat(traffic, model)
    assert (status, fields["headway-version"]) == (200, version)
    stamp = traffic.gateway.stamper.read(fields["x-request-id"])
    assert stamp is not None
    assert not stamp.is_evidence


def test_pin_of_an_answer_keeps_its_owner_where_they_are(traffic: Traffic) -> None:
    two_versions(traffic)
    _, fields, _ = chat(traffic, "bot@1.1.0")
    pin = fields["headway-pin"]
    for _ in range(10):
        assert chat(traffic, headway_pin=pin)[1]["headway-version"] == "1.1.0"
    forged = {
        chat(traffic, headway_pin=pin.replace("1.1.0", "1.0.0"))[1]["headway-version"]
        for _ in range(20)
    }
    assert forged == {"1.0.0", "1.1.0"}
    traffic.serve()  # nobody stays on what is not there any more
    assert chat(traffic, headway_pin=pin)[1]["headway-version"] == "1.0.0"


@pytest.mark.parametrize("model", ["nope", "bot@9.9.9", "bot@nothing", "bot@", "bot@^9"])
def test_unknown_models_and_versions_are_not_found(traffic: Traffic, model: str) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        traffic.client().chat.completions.create(model=model, messages=HELLO)
    assert refused.value.code == "model_not_found"
    assert refused.value.request_id is not None
    assert traffic.provider.requests == []


def test_nearly_right_name_is_told_the_right_one(traffic: Traffic) -> None:
    status, _, answer = chat(traffic, "bott")
    assert status == 404
    assert "did you mean 'bot'?" in answer["error"]["message"]


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": ""},
        {"authorization": "Bearer nonsense"},
        {"authorization": "Bearer hw_12345678_" + "0" * 49},
        {"authorization": f"Bearer {Secret.generate().text}"},
    ],
)
def test_wrong_keys_are_one_constant_401(traffic: Traffic, headers: dict[str, str]) -> None:
    status, fields, answer = chat(traffic, **headers)
    assert status == 401
    assert answer["error"]["code"] == "invalid_api_key"
    assert answer["error"]["message"] == "no key that works was presented"
    assert fields["www-authenticate"] == "Bearer"


def watch_hashing(traffic: Traffic) -> list[str]:
    """Return a list that will hold what the gateway takes the digest of."""
    hashed: list[str] = []
    pipeline = traffic.gateway.gateway.pipeline
    digest = pipeline.digest

    def watched(text: str) -> str:
        hashed.append(text)
        return digest(text)

    pipeline.digest = watched
    return hashed


def test_only_what_has_the_form_and_checksum_of_a_key_is_ever_hashed(traffic: Traffic) -> None:
    hashed = watch_hashing(traffic)
    good = Secret.generate().text
    other = "0" if good[-1] != "0" else "1"
    for wrong in (good[:-1] + other, good[:-1], good + "0", "hw_" + "a" * 58, "\xe9" * 61):
        assert chat(traffic, authorization=f"Bearer {wrong}")[0] == 401
        assert chat(traffic, authorization="", x_api_key=wrong)[0] == 401
    assert hashed == []
    assert chat(traffic, authorization=f"Bearer {good}")[0] == 401
    assert hashed == [good]


def test_an_address_that_guesses_is_refused_before_anything_is_hashed(traffic: Traffic) -> None:
    hashed = watch_hashing(traffic)
    guesses = [Secret.generate().text for _ in range(21)]
    statuses = [chat(traffic, authorization=f"Bearer {guess}")[0] for guess in guesses]
    assert statuses == [401] * 20 + [429]
    assert hashed == guesses[:20]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (
            {"credential": "unset"},
            "the credential 'unset' has no value: set HEADWAY_SECRET_UNSET",
        ),
        (
            {"base_url": "https://elsewhere.example.com/v1"},
            (
                "the credential 'test' is not for elsewhere.example.com: to send it there, "
                'set HEADWAY_SECRET_TEST_HOSTS="elsewhere.example.com"'
            ),
        ),
    ],
)
def test_a_check_of_a_version_whose_credential_is_missing_names_the_variable(
    traffic: Traffic, target: dict[str, str], words: str
) -> None:
    traffic.serve(versions={("bot", "1.0.0"): traffic.target(**target)})
    status, _, answer = chat(
        traffic, authorization="", headway_check="1.0.0", headway_hop=CHECK_SECRET
    )
    assert (status, answer["error"]["message"]) == (502, words)
    assert traffic.provider.requests == []


def test_key_may_come_as_x_api_key(traffic: Traffic) -> None:
    assert chat(traffic, authorization="", x_api_key=traffic.gateway.key)[0] == 200


def test_address_with_twenty_wrong_keys_in_a_minute_waits(traffic: Traffic) -> None:
    statuses = [chat(traffic, authorization="Bearer no")[0] for _ in range(22)]
    assert statuses == [401] * 20 + [429] * 2
    status, fields, answer = chat(traffic)
    assert status == 429
    assert 1 <= int(fields["retry-after"]) <= 61
    assert answer["error"]["code"] == "too_many_wrong_keys"


def keyed(traffic: Traffic, **more: Any) -> str:  # noqa: ANN401 - of `key_entry`
    text = Secret.generate().text
    traffic.serve(
        route_of("bot", [("stable", "1.0.0", 10_000)]),
        route_of("bot", [("stable", "1.0.0", 10_000)], environment="staging", id=2),
        keys=[key_entry(text, traffic.gateway.digest, **more)],
    )
    return f"Bearer {text}"


def test_role_without_the_permission_is_forbidden(traffic: Traffic) -> None:
    key = keyed(traffic, role="viewer")
    status, _, answer = chat(traffic, authorization=key)
    assert status == 403
    assert "traffic.call" in answer["error"]["message"]
    assert raw(traffic, "GET", "/v1/models", authorization=key)[0] == 200


def test_what_a_key_may_not_see_is_not_there(traffic: Traffic) -> None:
    key = keyed(traffic, role="caller", models=["other-*"])
    assert chat(traffic, authorization=key)[0] == 404
    _, _, body = raw(traffic, "GET", "/v1/models", authorization=key)
    assert json.loads(body)["data"] == []


def test_expired_key_is_refused(traffic: Traffic) -> None:
    assert chat(traffic, authorization=keyed(traffic, expires_at=1_000))[0] == 401


def test_environment_is_the_keys_own_or_the_named_one(traffic: Traffic) -> None:
    staging = keyed(traffic, role="caller", environments=["staging"])
    _, fields, _ = chat(traffic, authorization=staging)
    stamp = traffic.gateway.stamper.read(fields["x-request-id"])
    assert stamp is not None
    assert stamp.revision_id == 2
    assert chat(traffic, authorization=staging, headway_environment="production")[0] == 404
    _, fields, _ = chat(traffic, headway_environment="staging")
    stamp = traffic.gateway.stamper.read(fields["x-request-id"])
    assert stamp is not None
    assert stamp.revision_id == 2


def test_revoked_key_is_refused_by_the_next_view(traffic: Traffic) -> None:
    key = keyed(traffic, role="caller")
    assert chat(traffic, authorization=key)[0] == 200
    traffic.serve()
    assert chat(traffic, authorization=key)[0] == 401


def test_key_that_was_good_expires_all_the_same(traffic: Traffic) -> None:
    key = keyed(traffic, role="caller", expires_at=4_000_000_000_000)
    assert chat(traffic, authorization=key)[0] == 200
    traffic.gateway.gateway.pipeline.clock = lambda: 4_000_000_000_000
    assert chat(traffic, authorization=key)[0] == 401


def test_key_is_not_shown_what_another_was_shown(traffic: Traffic) -> None:
    here, elsewhere, blind = (Secret.generate().text for _ in range(3))
    digest = traffic.gateway.digest
    traffic.serve(
        route_of("bot", [("stable", "1.0.0", 10_000)], id=1),
        route_of("bot", [("stable", "1.0.0", 10_000)], environment="staging", id=2),
        keys=[
            key_entry(here, digest, role="caller"),
            key_entry(elsewhere, digest, role="caller", environments=["staging"]),
            key_entry(blind, digest, role="caller", models=["other"]),
        ],
    )
    for _ in range(2):
        revisions = []
        for key in (here, elsewhere):
            _, fields, _ = chat(traffic, authorization=f"Bearer {key}")
            stamp = traffic.gateway.stamper.read(fields["x-request-id"])
            assert stamp is not None
            revisions.append(stamp.revision_id)
        assert revisions == [1, 2]
        assert chat(traffic, authorization=f"Bearer {blind}")[0] == 404
        asked = chat(traffic, authorization=f"Bearer {here}", headway_environment="staging")
        stamp = traffic.gateway.stamper.read(asked[1]["x-request-id"])
        assert stamp is not None
        assert stamp.revision_id == 2


def test_next_view_moves_who_was_already_served(traffic: Traffic) -> None:
    assert chat(traffic)[0] == 200
    traffic.serve(route_of("bot", [("stable", "1.0.0", 10_000)], id=9))
    stamp = traffic.gateway.stamper.read(chat(traffic)[1]["x-request-id"])
    assert stamp is not None
    assert stamp.revision_id == 9


def test_kill_switch_answers_nobody(traffic: Traffic) -> None:
    traffic.serve(route_of("bot", [("stable", "1.0.0", 10_000)], enabled=False))
    status, _, answer = chat(traffic)
    assert (status, answer["error"]["code"]) == (503, "switched_off")
    assert traffic.provider.requests == []


def test_clients_own_retry_is_no_evidence(traffic: Traffic) -> None:
    _, fields, _ = chat(traffic, x_stainless_retry_count="1")
    stamp = traffic.gateway.stamper.read(fields["x-request-id"])
    assert stamp is not None
    assert not stamp.is_evidence
    _, fields, _ = chat(traffic, x_stainless_retry_count="0")
    stamp = traffic.gateway.stamper.read(fields["x-request-id"])
    assert stamp is not None
    assert stamp.is_evidence


def test_control_checks_a_version_that_no_route_holds(traffic: Traffic) -> None:
    two_versions(traffic)
    check = {"authorization": "", "headway_hop": CHECK_SECRET}
    for version in ("1.1.0", "1.2.0"):
        _, fields, _ = chat(traffic, headway_check=version, **check)
        assert fields["headway-version"] == version
        stamp = traffic.gateway.stamper.read(fields["x-request-id"])
        assert stamp is not None
        assert not stamp.is_evidence
    assert chat(traffic, authorization="", headway_check="1.1.0")[0] == 401
    assert chat(traffic, authorization="", headway_check="1.1.0", headway_hop="no")[0] == 401
    _, fields, _ = chat(traffic, headway_check="1.2.0", headway_hop="no")
    assert fields["headway-version"] != "1.2.0"


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b"[]", 400), (b'{"model":"bot"}', 400), (b"x" * 5_000_000, 400)],
)
def test_malformed_bodies_are_told_in_openais_shape(
    traffic: Traffic, body: bytes, status: int
) -> None:
    found, _, answer = raw(traffic, "POST", "/v1/chat/completions", body)
    assert found == status
    assert json.loads(answer)["error"]["type"] == "invalid_request_error"
    assert traffic.provider.requests == []


def test_packed_and_oversized_bodies_are_refused(traffic: Traffic) -> None:
    assert chat(traffic, content_encoding="gzip")[0] == 415
    found, _, answer = raw(
        traffic, "POST", "/v1/chat/completions", b"", content_length=str(1 << 30)
    )
    assert found == 413
    assert json.loads(answer)["error"]["type"] == "invalid_request_error"


def test_wrong_method_and_path_are_told(traffic: Traffic) -> None:
    status, fields, _ = raw(traffic, "GET", "/v1/chat/completions")
    assert (status, fields["allow"]) == (405, "POST")
    status, _, answer = raw(traffic, "POST", "/v1/chat/completion", b"{}")
    assert status == 404
    assert "did you mean /v1/chat/completions?" in json.loads(answer)["error"]["message"]


def test_models_are_listed_in_both_shapes(traffic: Traffic) -> None:
    listed = list(traffic.client().models.list())
    assert [model.id for model in listed] == ["bot"]
    assert traffic.client().models.retrieve("bot@1.0.0").id == "bot@1.0.0"
    with pytest.raises(openai.NotFoundError):
        traffic.client().models.retrieve("nope")
    status, _, _ = raw(traffic, "GET", "/v1/models?limit=%C2%B2", anthropic_version="2026-10-21")
    assert status == 400  # a digit, but no number
    _, _, body = raw(traffic, "GET", "/v1/models?limit=1", anthropic_version="2026-10-21")
    page = json.loads(body)
    assert page["data"][0]["type"] == "model"
    assert page["data"][0]["lifecycle"] == "active"
    assert (page["has_more"], page["first_id"], page["last_id"]) == (False, "bot", "bot")
    status, _, body = raw(traffic, "GET", "/v1/models/nope", anthropic_version="2026-10-21")
    assert (status, json.loads(body)["error"]["type"]) == (404, "not_found_error")


def test_version_without_its_credential_says_what_to_set(traffic: Traffic) -> None:
    traffic.serve(versions={("bot", "1.0.0"): traffic.target(credential="mine")})
    status, _, answer = chat(traffic)
    assert status == 502
    assert "HEADWAY_SECRET_MINE" in answer["error"]["message"]
    assert traffic.gateway.outcomes() == {"1.0.0": {"version": 1}}


def test_fallback_answers_when_the_chosen_version_fails(traffic: Traffic) -> None:
    def script(request: Received) -> Reply:
        return Reply(status=500) if request.json["model"] == "gpt-upstream" else Reply(text="ok")

    traffic.provider.script = script
    traffic.serve(
        route_of("bot", [("stable", "1.0.0", 10_000)], fallback="small"),
        route_of("small", [("stable", "0.1.0", 10_000)], id=2),
        versions={
            ("bot", "1.0.0"): traffic.target(),
            ("small", "0.1.0"): traffic.target(model="small"),
        },
    )
    status, fields, answer = chat(traffic)
    assert (status, fields["headway-version"]) == (200, "0.1.0")
    assert answer["choices"][0]["message"]["content"] == "ok"
    assert traffic.gateway.outcomes() == {"1.0.0": {"provider": 1}, "0.1.0": {"ok": 1}}


def test_failing_provider_is_tried_again_as_often_as_the_version_says(traffic: Traffic) -> None:
    replies = iter([Reply(status=503), Reply(drop=True), Reply(text="at last")])
    traffic.provider.script = lambda _: next(replies)
    traffic.serve(versions={("bot", "1.0.0"): traffic.target(retries=2)})
    status, _, answer = chat(traffic)
    assert (status, answer["choices"][0]["message"]["content"]) == (200, "at last")
    assert len(traffic.provider.requests) == 3
    assert traffic.gateway.outcomes() == {"1.0.0": {"ok": 1}}


def test_client_is_told_not_to_retry_what_was_retried(traffic: Traffic) -> None:
    traffic.provider.script = lambda _: Reply(status=503, error="busy")
    traffic.serve(versions={("bot", "1.0.0"): traffic.target(retries=1)})
    status, fields, _ = chat(traffic)
    assert (status, fields["x-should-retry"]) == (503, "false")
    assert len(traffic.provider.requests) == 2
