"""What holds for every operation: who may, what is refused, how it is said, what a repeat gets."""

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
from flask import Flask
from structlog.testing import capture_logs
from tests.web.world import NOW, Api, MakeApi, World
from werkzeug.test import TestResponse

from headway.app import create_app
from headway.auth.role import Permission
from headway.kernel.clock import DAY, MINUTE
from headway.kernel.errors import HeadwayError, StorageUnavailable, Unavailable, Undone
from headway.outbox.answer import Answer, Scope
from headway.testing import memory
from headway.web import operation
from headway.web.errors import KINDS, kind_of
from headway.web.operation import Declaration, Given, Operation, Reply
from headway.web.transaction import Joined

SECRET = "s3cret"  # noqa: S105 - of a test
OPENAI = {"provider": "openai", "base_url": "https://api.example.com/v1", "model": "m"}


def view_of(app: Flask, endpoint: str) -> Operation:
    view = app.view_functions[endpoint]
    assert isinstance(view, Operation)
    return view


def planted(fault: Callable[[], Reply]) -> Operation:
    """Return a view with nothing but a fault in it."""
    declared = Declaration(permission=Permission.MODELS_READ, summary="")
    return Operation(declared, lambda **_: fault())


# Declarations


def test_every_view_of_the_application_declares_a_permission(app: Flask) -> None:
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        assert isinstance(view, Operation), rule
        assert isinstance(view.declaration.permission, Permission), rule


def test_a_view_without_a_declaration_stops_the_start(world: World) -> None:
    app = Flask("forgetful", static_folder=None)
    app.add_url_rule("/secrets", "secrets", lambda: "here you are")

    with pytest.raises(RuntimeError, match="do not declare a permission: /secrets"):
        operation.init_app(app, world.services)


def test_a_rule_that_the_framework_adds_by_itself_stops_the_start(world: World) -> None:
    with pytest.raises(RuntimeError, match="/somewhere/"):
        operation.init_app(Flask("generous", static_folder="somewhere"), world.services)


def test_two_applications_know_nothing_of_each_other(world: World) -> None:
    one, other = create_app(world.services), create_app(world.services, hop_secret=SECRET)

    assert one.test_client().get("/controlz").status_code == 200
    assert other.test_client().get("/controlz").status_code == 403


def test_only_what_touches_nothing_is_public(app: Flask) -> None:
    public = {
        rule.rule
        for rule in app.url_map.iter_rules()
        if view_of(app, rule.endpoint).declaration.permission is Permission.PUBLIC
    }
    assert public == {"/controlz", "/api/v1/openapi.json", "/docs/errors/<slug>"}


# Who asks


def test_who_presents_no_key_is_asked_for_one(api: MakeApi) -> None:
    answer = api(None)("GET", "/models")

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert "Authorization: Bearer" in answer.get_json()["detail"]


@pytest.mark.parametrize(
    "presented",
    ["Bearer nonsense", "Bearer ", "Basic aHc6aHc=", "hw_x", "Bearer " + "hw_" + "A" * 58],
)
def test_no_other_key_opens_anything_and_all_are_told_the_same(
    api: MakeApi, presented: str
) -> None:
    answer = api(None)("GET", "/models", headers={"Authorization": presented})
    assert answer.status_code == 401


def test_the_key_may_stand_in_x_api_key(api: MakeApi, world: World) -> None:
    head = {"x-api-key": world.key("viewer")}
    assert api(None)("GET", "/models", headers=head).status_code == 200


def test_a_revoked_key_opens_nothing(api: MakeApi, admin: Api) -> None:
    made = admin.done("POST", "/keys", {"name": "ci", "role": "viewer"})
    head = {"Authorization": f"Bearer {made['key']}"}
    assert api(None)("GET", "/models", headers=head).status_code == 200

    admin.done("DELETE", f"/keys/{made['id']}")
    assert api(None)("GET", "/models", headers=head).status_code == 401


def test_an_address_that_guesses_keys_has_to_wait(api: MakeApi, world: World) -> None:
    guess = {"Authorization": "Bearer guess"}
    for _ in range(20):
        assert api(None)("GET", "/models", headers=guess).status_code == 401
    answer = api("viewer")("GET", "/models")

    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "60")
    world.now += MINUTE
    assert api("viewer")("GET", "/models").status_code == 200


def test_who_may_not_is_told_the_permission(api: MakeApi) -> None:
    answer = api("viewer")("POST", "/models", {"name": "bot"})

    assert answer.status_code == 403
    assert "models.write" in answer.get_json()["detail"]


def test_what_a_key_may_not_see_is_not_there(api: MakeApi, admin: Api) -> None:
    for name in ("bot-a", "secret-b"):
        admin.done("POST", "/models", {"name": name})
    narrow = api("deployer", models=("bot-*",))

    assert narrow("GET", "/models/bot-a").status_code == 200
    hidden, missing = narrow("GET", "/models/secret-b"), narrow("GET", "/models/secret-c")
    assert hidden.status_code == missing.status_code == 404
    assert [m["name"] for m in narrow.done("GET", "/models")["items"]] == ["bot-a"]
    assert narrow("POST", "/models", {"name": "other"}).status_code == 403
    assert narrow("DELETE", "/models/secret-b").status_code == 404
    assert api("viewer", models=("bot-*",))("DELETE", "/models/secret-b").status_code == 403


def test_only_the_gateway_may_speak_to_control(world: World) -> None:
    http = create_app(world.services, hop_secret=SECRET).test_client()
    key = {"Authorization": f"Bearer {world.key('viewer')}"}

    assert http.get("/api/v1/models", headers=key).status_code == 403
    assert http.get("/api/v1/models", headers=key | {"Headway-Hop": "s3cret!"}).status_code == 403
    assert http.get("/api/v1/models", headers=key | {"Headway-Hop": SECRET}).status_code == 200


def test_failures_are_counted_for_the_address_that_the_gateway_names(world: World) -> None:
    http = create_app(world.services, hop_secret=SECRET).test_client()
    head = {"Headway-Hop": SECRET, "Headway-Client-Addr": "192.0.2.1"}
    for _ in range(20):
        http.get("/api/v1/models", headers=head | {"Authorization": "Bearer guess"})
    key = {"Authorization": f"Bearer {world.key('viewer')}"}

    assert http.get("/api/v1/models", headers=head | key).status_code == 429
    other = head | key | {"Headway-Client-Addr": "192.0.2.2"}
    assert http.get("/api/v1/models", headers=other).status_code == 200


def test_without_a_hop_secret_nobody_can_borrow_an_address(api: MakeApi) -> None:
    for i in range(20):
        head = {"Authorization": "Bearer guess", "Headway-Client-Addr": f"192.0.2.{i}"}
        api(None)("GET", "/models", headers=head)
    assert api("viewer")("GET", "/models").status_code == 429


# Errors


@pytest.mark.parametrize(
    ("method", "path", "more", "status", "said"),
    [
        ("GET", "//nowhere", {}, 404, "openapi.json"),
        ("GET", "/models/none", {}, 404, "none"),
        ("GET", "/models/a%00b", {}, 404, "nothing is here"),
        ("GET", "/models/a%0d%0ab", {}, 404, "nothing is here"),
        ("GET", "//api//v1/models", {}, 404, "nothing is here"),
        ("PUT", "/models", {}, 405, "Allow"),
        ("OPTIONS", "/models", {}, 405, "Allow"),
        ("POST", "/models", {"data": b"{", "type": "application/json"}, 400, "not JSON"),
        ("POST", "/models", {"data": b"", "type": "application/json"}, 400, "empty"),
        ("POST", "/models", {"data": b"[]", "type": "application/json"}, 400, "object"),
        ("POST", "/models", {"data": b"{}", "type": "text/plain"}, 415, "application/json"),
        ("POST", "/models", {"data": b"{}"}, 415, "no stated kind"),
        ("POST", "/models", {"json": {"name": 5}}, 422, "/name: must be a string, not a number"),
        ("POST", "/models", {"json": {"name": ""}}, 422, "/name: "),
        ("POST", "/models", {"json": {"name": "con"}}, 422, "device on Windows"),
        ("POST", "/models", {"json": {"name": "a/b"}}, 422, "/name: "),
        ("POST", "/models", {"json": {"name": "Bot!"}}, 422, "'Bot!' cannot name a model: a name"),
        ("POST", "/models", {"json": {"nmae": "bot"}}, 422, "did you mean 'name'?"),
        ("POST", "/models", {"json": {"name": "b", "description": "\0"}}, 422, "U+0000"),
        ("POST", "/models?dry_run=maybe", {"json": {"name": "bot"}}, 422, "true or false"),
        ("POST", "/models?dryrun=true", {"json": {"name": "bot"}}, 422, "did you mean 'dry_run'"),
        ("POST", "/models?dry_rnu=true", {"json": {"name": "bot"}}, 422, "?dry_rnu"),
        ("GET", "/models?limt=5", {}, 422, "did you mean 'limit'?"),
        ("GET", "/models?limit=1&limit=2", {}, 422, "twice"),
        ("GET", "/models?limit=1_0", {}, 422, "?limit"),
        ("GET", "/models?limit=0", {}, 422, "?limit: should be greater than or equal to 1"),
        ("GET", "/models?limit=1001", {}, 422, "?limit"),
        ("GET", "/models?after=nonsense", {}, 422, "?after"),
        ("GET", "/models?after=a%20b", {}, 422, "'a b' is no cursor that a list gave"),
        ("GET", "/measurements?model=a%20b", {}, 422, "'a b' cannot name a thing: a name is"),
        ("GET", "/measurements?model=a&from=1.1.26", {}, 422, "'1.1.26' is no time: write it"),
        ("GET", "/deployments/dep_1/events?after=x", {}, 422, "'x' is no number of an event"),
        ("GET", "/routes/a/b/revisions?after=x", {}, 422, "'x' is no number of a revision"),
        (
            "POST",
            "/feedback",
            {"json": {"request_id": "a b", "scores": {"ok": 1}}},
            422,
            "'a b' is no id of a request",
        ),
        ("GET", "/models?order=size", {}, 422, "order"),
        ("GET", "/models?tag=a%20b", {}, 422, "?tag"),
        ("GET", "/models?dry_run=true", {}, 422, "?dry_run"),
        ("GET", "/keys/00000000", {}, 404, "00000000"),
        ("GET", "/artifacts/sha256:" + "0" * 64, {}, 404, "0000"),
        ("GET", "/artifacts/sha256:0", {}, 404, "nothing is here"),
    ],
)
def test_every_refusal_is_a_problem_that_says_what_to_do(
    api: MakeApi,
    admin: Api,
    method: str,
    path: str,
    more: dict[str, Any],
    status: int,
    said: str,
) -> None:
    head = {"Content-Type": more["type"]} if "type" in more else {}
    answer = admin(method, path, more.get("json"), headers=head, data=more.get("data"))

    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")
    problem = answer.get_json()
    assert problem["status"] == status
    assert said in problem["detail"], problem
    assert "pattern" not in problem["detail"], "words, not the regular expression"
    assert re.match(r"/docs/errors/[a-z-]+\Z", problem["type"])
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    # What `type` names is there to be read, also for who has no key.
    told = api(None)("GET", f"/{problem['type']}")
    assert (told.status_code, told.mimetype) == (200, "text/plain")
    assert f"\n{status}. " in told.text


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("//api/v1/model", "did you mean /api/v1/models?"),
        ("//api/v1/models/", "did you mean /api/v1/models?"),
        ("//api/v1/deployment/dep_1", "did you mean /api/v1/deployments/dep_1?"),
        ("//api/v1/routes/bot", "did you mean /api/v1/routes/bot/{environment}?"),
        ("//api/v1/models/bot/version", "did you mean /api/v1/models/bot/versions?"),
        ("//elsewhere", "nothing is here; /api/v1/openapi.json"),
    ],
)
def test_a_path_that_is_none_is_told_with_the_one_that_was_meant(
    api: MakeApi, path: str, meant: str
) -> None:
    answer = api(None)("GET", path)
    assert answer.status_code == 404
    assert meant in answer.get_json()["detail"]


def test_every_fault_of_a_body_is_named_at_once(admin: Api) -> None:
    body = {"nmae": "x", "tags": {"a": 1}, "alternative_ids": "b"}
    problem = admin("POST", "/models", body).get_json()

    assert {fault["pointer"] for fault in problem["errors"]} == {
        "/name",
        "/nmae",
        "/tags/a",
        "/alternative_ids",
    }


def test_a_body_of_more_than_a_mebibyte_is_too_large(admin: Api) -> None:
    body = {"name": "bot", "description": "x" * (1 << 20)}
    assert admin("POST", "/models", body).status_code == 413


def test_a_body_without_a_length_is_not_read_in_part(app: Flask, world: World) -> None:
    padded = b'{"name": "bot"}' + b" " * (1 << 20)
    answer = app.test_client().post(
        "/api/v1/models",
        input_stream=io.BytesIO(padded),
        content_type="application/json",
        headers={"Authorization": f"Bearer {world.key('admin')}"},
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert (answer.status_code, answer.get_json()["title"]) == (413, "Too many bytes")


def test_a_packed_body_is_refused(admin: Api) -> None:
    answer = admin("POST", "/models", {"name": "b"}, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415


def test_an_error_without_a_kind_of_its_own_is_our_fault() -> None:
    assert kind_of(HeadwayError("bare")).status == 500
    assert kind_of(ValueError()).status == 500


@pytest.mark.parametrize(("lasts", "status", "calls"), [(True, 409, 1), (False, 503, 4)])
def test_what_was_undone_is_not_repeated_if_a_part_of_it_lasts(
    app: Flask, admin: Api, world: World, *, lasts: bool, status: int, calls: int
) -> None:
    called: list[str] = []

    def two_steps() -> Reply:
        called.append("once")
        with world.services.begin() as work:
            if lasts:
                work.commit()
        raise Undone("somebody else changed the same rows")

    app.view_functions["models.register"] = planted(two_steps)
    assert admin("POST", "/models", {"name": "bot"}).status_code == status
    assert len(called) == calls


def test_each_kind_of_error_has_its_own_page() -> None:
    kinds = set(KINDS.values())
    assert len({kind.slug for kind in kinds}) == len(kinds)


def test_what_nobody_foresaw_leaks_nothing(app: Flask, api: MakeApi) -> None:
    def leaky() -> Reply:
        raise RuntimeError("SELECT * FROM keys -- hw_secret /srv/headway/data")

    viewer = api("viewer")
    app.view_functions["models.listing"] = planted(leaky)
    with capture_logs() as logs:
        answer = viewer("GET", "/models")

    assert answer.status_code == 500
    assert "SELECT" not in answer.get_data(as_text=True)
    (line,) = logs
    assert line["request_id"] == answer.get_json()["request_id"]
    assert line["error"] == "RuntimeError"
    assert "SELECT" not in repr(line)
    assert "hw_secret" not in repr(line)


def test_a_database_that_does_not_answer_is_503(app: Flask, admin: Api) -> None:
    def gone() -> Reply:
        raise Unavailable("the database does not answer", retry_after=7)

    app.view_functions["models.show"] = planted(gone)
    answer = admin("GET", "/models/bot")

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "7")


def test_the_id_of_a_request_is_the_gateways_if_it_is_one(api: MakeApi) -> None:
    viewer = api("viewer")
    head = {"Headway-Request-Id": "req_abc-1"}

    assert viewer("GET", "/models", headers=head).headers["X-Request-ID"] == "req_abc-1"
    odd = viewer("GET", "/models", headers={"X-Request-ID": "a b"}).headers["X-Request-ID"]
    assert odd.startswith("api_")


def test_nothing_is_cached_or_sniffed(api: MakeApi) -> None:
    head = api("viewer")("GET", "/models").headers
    assert (head["Cache-Control"], head["X-Content-Type-Options"]) == ("no-store", "nosniff")
    assert not [name for name, _ in head if name.startswith("Access-Control")]


# Repeats


def test_a_repeat_with_the_same_key_is_given_the_first_answer(admin: Api) -> None:
    head = {"Idempotency-Key": "one"}
    first = admin("POST", "/models", {"name": "bot"}, headers=head)
    second = admin("POST", "/models", {"name": "bot"}, headers=head)

    assert first.status_code == second.status_code == 201
    assert first.get_data() == second.get_data()
    assert second.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    for field in ("Location", "ETag", "Content-Type"):
        assert first.headers[field] == second.headers[field]
    assert admin("POST", "/models", {"name": "bot"}).status_code == 409


def test_the_same_key_with_another_body_is_refused(admin: Api) -> None:
    head = {"Idempotency-Key": "one"}
    admin.done("POST", "/models", {"name": "bot"}, headers=head)
    answer = admin("POST", "/models", {"name": "other"}, headers=head)

    assert answer.status_code == 422
    assert admin("GET", "/models/other").status_code == 404


def test_keys_of_two_callers_are_two_keys(api: MakeApi) -> None:
    head = {"Idempotency-Key": "one"}
    assert api("admin")("POST", "/models", {"name": "bot"}, headers=head).status_code == 201
    assert api("admin")("POST", "/models", {"name": "bot"}, headers=head).status_code == 409


def test_a_refusal_is_not_kept(admin: Api) -> None:
    head = {"Idempotency-Key": "one"}
    body = {"version": "1.0.0", "target": OPENAI}
    assert admin("POST", "/models/bot/versions", body, headers=head).status_code == 404
    admin.done("POST", "/models", {"name": "bot"})
    assert admin("POST", "/models/bot/versions", body, headers=head).status_code == 201


class Full:
    """A table of answers on a disk that is full."""

    def find(self, _: Scope) -> Answer | None:
        return None

    def put(self, _: Answer) -> None:
        raise StorageUnavailable("the disk is full")


def test_without_room_for_the_answer_there_is_no_effect(tmp_path: Path) -> None:
    store = memory.Store()

    @contextmanager
    def begin() -> Iterator[memory.MemoryWork]:
        with memory.begin(store, lambda: NOW) as work:
            work.idempotency = Full()  # type: ignore[assignment]  # a table that fails
            yield work

    world = World(tmp_path, begin=Joined(begin))
    api = Api(create_app(world.services).test_client(), world.key("admin"))
    head = {"Idempotency-Key": "one"}

    assert api("POST", "/models", {"name": "bot"}, headers=head).status_code == 503
    assert api("GET", "/models/bot").status_code == 404


def test_an_answer_is_kept_for_a_day(admin: Api, world: World) -> None:
    head = {"Idempotency-Key": "one"}
    admin.done("POST", "/models", {"name": "bot"}, headers=head)
    world.now += DAY + 1

    assert admin("POST", "/models", {"name": "bot"}, headers=head).status_code == 409
    assert admin("POST", "/models", {"name": "other"}, headers=head).status_code == 201


def test_eight_repeats_at_once_make_one(admin: Api) -> None:
    answers: list[int] = []
    together = Barrier(8)

    def create() -> None:
        together.wait()
        head = {"Idempotency-Key": "one"}
        answers.append(admin("POST", "/models", {"name": "bot"}, headers=head).status_code)

    threads = [Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    # 409: the first still runs; whoever asks again is given its answer.
    assert set(answers) <= {201, 409}
    assert 201 in answers
    assert len(admin.done("GET", "/models")["items"]) == 1
    again = admin("POST", "/models", {"name": "bot"}, headers={"Idempotency-Key": "one"})
    assert again.headers["Idempotency-Replayed"] == "true"


def test_while_the_first_still_runs_a_repeat_is_asked_to_wait(app: Flask, admin: Api) -> None:
    view = view_of(app, "models.register")
    inner: list[TestResponse] = []
    head = {"Idempotency-Key": "one"}

    def meanwhile(**arguments: object) -> Given:
        inner.append(admin("POST", "/models", {"name": "bot"}, headers=head))
        return view._view(**arguments)

    app.view_functions["models.register"] = Operation(view.declaration, meanwhile)
    outer = admin("POST", "/models", {"name": "bot"}, headers=head)
    # The second is refused before it reaches the view.

    assert outer.status_code == 201
    assert (inner[0].status_code, inner[0].headers["Retry-After"]) == (409, "1")


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\u00e9"])
def test_an_idempotency_key_is_printable(admin: Api, key: str) -> None:
    head = {"Idempotency-Key": key}
    assert admin("POST", "/models", {"name": "bot"}, headers=head).status_code == 422


def test_no_answer_with_a_secret_in_it_is_ever_kept(admin: Api) -> None:
    head = {"Idempotency-Key": "one"}
    answer = admin("POST", "/keys", {"name": "ci", "role": "viewer"}, headers=head)
    assert answer.status_code == 422


# Dry runs


def test_a_dry_run_answers_as_the_real_one_would_and_writes_nothing(admin: Api) -> None:
    body = {"name": "bot", "tags": {"team": "search"}}
    tried = admin("POST", "/models?dry_run=true", body)
    assert admin("GET", "/models/bot").status_code == 404

    done = admin("POST", "/models", body)
    assert (tried.status_code, tried.get_json()) == (done.status_code, done.get_json())
    assert tried.headers["Location"] == done.headers["Location"]


def test_a_dry_run_refuses_what_the_real_one_would(admin: Api) -> None:
    admin.done("POST", "/models", {"name": "bot"})

    assert admin("POST", "/models?dry_run=true", {"name": "BOT"}).status_code == 409
    assert admin("DELETE", "/models/bot?dry_run=true").get_json()["archived"] is True
    assert admin.done("GET", "/models/bot")["archived"] is False


def test_a_dry_run_uses_no_idempotency_key_up(admin: Api) -> None:
    head = {"Idempotency-Key": "one"}
    admin.done("POST", "/models?dry_run=true", {"name": "bot"}, headers=head)
    answer = admin("POST", "/models", {"name": "bot"}, headers=head)

    assert answer.status_code == 201
    assert "Idempotency-Replayed" not in answer.headers
