"""Who may do what, cell by cell, on a real server: every operation, every role, and nobody."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

import pytest
from tests.chaos.running import Running, running, until

from headway.testing.provider import ScriptedProvider

ROLES: Final = ("viewer", "caller", "deployer", "admin")
# What is done, who may (in the order of ROLES), and by which operations.
TABLE: Final = """
everything public                       | yes yes yes yes | public
  GET /api/v1/openapi.json
  GET /docs/errors/{slug}
  GET /controlz
  GET /livez
  GET /readyz
  GET /v2
  GET /v2/health/live
  GET /v2/health/ready
call models                             | -   yes -   yes |
  POST /v1/chat/completions
  POST /v1/responses
  POST /v1/embeddings
  POST /v1/messages
  POST /v1/messages/count_tokens
  POST /v2/models/bot/infer
send feedback                           | -   yes -   yes |
  POST /api/v1/feedback
list and describe models for calling    | yes yes yes yes |
  GET /v1/models
  GET /v1/models/bot
  GET /v2/models/bot
  GET /v2/models/bot/ready
read and explain                        | yes -   yes yes |
  GET /api/v1/artifacts/{digest}
  GET /api/v1/deployments
  GET /api/v1/deployments/{deployment_id}
  GET /api/v1/deployments/{deployment_id}/events
  GET /api/v1/deployments/{deployment_id}/events/{seq}/verdict
  POST /api/v1/deployments/plans
  GET /api/v1/measurements
  GET /api/v1/models
  GET /api/v1/models/{model}
  GET /api/v1/models/{model}/aliases
  GET /api/v1/models/{model}/aliases/{alias}
  GET /api/v1/models/{model}/versions
  GET /api/v1/models/{model}/versions/{ref}
  GET /api/v1/models/{model}/versions/{ref}/comparison
  GET /api/v1/prices
  GET /api/v1/prices/present
  GET /api/v1/requests/{request_id}
  GET /api/v1/rollbacks
  GET /api/v1/rollbacks/{rollback_id}
  GET /api/v1/routes/{model}/{environment}
  GET /api/v1/routes/{model}/{environment}/explanation
  GET /api/v1/routes/{model}/{environment}/revisions
  GET /api/v1/routes/{model}/{environment}/revisions/{number}
  GET /api/v1/snapshots
  GET /api/v1/snapshots/{snapshot_id}
register, upload, tags, aliases         | -   -   yes yes |
  POST /api/v1/artifacts
  DELETE /api/v1/artifacts/{digest}
  POST /api/v1/models
  PATCH /api/v1/models/{model}
  DELETE /api/v1/models/{model}
  PUT /api/v1/models/{model}/aliases/{alias}
  DELETE /api/v1/models/{model}/aliases/{alias}
  POST /api/v1/models/{model}/versions
  PATCH /api/v1/models/{model}/versions/{ref}
deploy and steer                        | -   -   yes yes |
  POST /api/v1/deployments
  POST /api/v1/deployments/{deployment_id}/abandon
  POST /api/v1/deployments/{deployment_id}/abort
  POST /api/v1/deployments/{deployment_id}/pause
  POST /api/v1/deployments/{deployment_id}/promote
  POST /api/v1/deployments/{deployment_id}/resume
  POST /api/v1/snapshots
roll back, kill switch                  | -   -   yes yes |
  POST /api/v1/rollbacks
  PUT /api/v1/routes/{model}/{environment}
keys, and what things cost              | -   -   -   yes |
  GET /api/v1/keys
  POST /api/v1/keys
  DELETE /api/v1/keys/{key_id}
  GET /api/v1/keys/{key_id}
  PATCH /api/v1/keys/{key_id}
  DELETE /api/v1/prices
  PUT /api/v1/prices
metrics                                 | -   -   -   yes |
  GET /metrics
"""
PARTS: Final = {
    "{digest}": f"sha256:{'0' * 64}",
    "{deployment_id}": "dep_0",
    "{seq}": "1",
    "{model}": "nothing",
    "{alias}": "champion",
    "{ref}": "9.9.9",
    "{request_id}": "req_0",
    "{rollback_id}": "rb_0",
    "{environment}": "production",
    "{number}": "9",
    "{snapshot_id}": "snap_0",
    "{key_id}": "AAAAAAAA",
}
"""Things that are not there: nothing is changed by asking."""
NOBODY: Final = "nobody"


def cells() -> Iterator[tuple[str, bool, frozenset[str]]]:
    """Return each operation, whether it is public, and who may."""
    public, who = False, frozenset[str]()
    for line in TABLE.strip().splitlines():
        if not line.startswith("  "):
            _, words, kind = line.split("|")
            may = zip(ROLES, words.split(), strict=True)
            public, who = (
                bool(kind.strip()),
                frozenset(role for role, word in may if word == "yes"),
            )
        else:
            yield line.strip(), public, who


CELLS: Final = list(cells())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    data = tmp_path_factory.mktemp("roles") / "d"
    with (
        pytest.MonkeyPatch.context() as patch,
        ScriptedProvider() as provider,
        running(data, patch, gateways="1") as found,
    ):
        found.register("1.0.0", base_url=provider.url)
        yield found


@pytest.fixture(scope="module")
def keys(server: Running) -> dict[str, str]:
    made: dict[str, str] = {}
    for role in ROLES:
        answer = server.request("POST", "/api/v1/keys", {"name": role, "role": role})
        made[role] = json.loads(answer.body)["key"]
    identifier = made[ROLES[-1]][3:11]
    until(
        lambda: bool(server.api.get(f"/keys/{identifier}")["in_force"]),
        seconds=10,
        what="the gateways know the keys",
    )
    return made


def ask(
    server: Running, operation: str, headers: dict[str, str], number: int
) -> tuple[int, dict[str, Any]]:
    """Ask from an address of its own: who has no key twenty times has to wait."""
    method, _, path = operation.partition(" ")
    for name, value in PARTS.items():
        path = path.replace(name, value)
    source = (f"127.0.{1 + number // 250}.{1 + number % 250}", 0)
    connection = HTTPConnection("127.0.0.1", server.port, timeout=30, source_address=source)
    body = None if method in {"GET", "DELETE"} else "{}"
    head = {"Content-Type": "application/json"} if body else {}
    try:
        connection.request(method, path, body, head | headers)
        answer = connection.getresponse()
        read = answer.read()
    finally:
        connection.close()
    kind = answer.headers["content-type"] or ""
    return answer.status, json.loads(read) if "json" in kind and read else {}


def test_the_table_holds_every_operation_of_the_document(server: Running) -> None:
    paths = server.api.get("/openapi.json")["paths"]
    there = {f"{verb.upper()} {path}" for path, verbs in paths.items() for verb in verbs}
    told = {operation for operation, _, _ in CELLS}

    assert len(told) == len(CELLS)
    assert there - told == set()
    assert all(not operation.split()[1].startswith("/api/") for operation in told - there)


@pytest.mark.parametrize("operation", [one[0] for one in CELLS])
def test_every_role_may_what_the_table_says_and_nobody_else_anything(
    server: Running, keys: dict[str, str], operation: str
) -> None:
    number = next(i for i, one in enumerate(CELLS) if one[0] == operation)
    _, public, may = CELLS[number]
    found = {
        role: ask(server, operation, {"Authorization": f"Bearer {keys[role]}"}, number)
        for role in ROLES
    }
    found[NOBODY] = ask(server, operation, {}, number)

    allowed = {who for who, (status, _) in found.items() if status not in {401, 403}}
    assert allowed == may | ({NOBODY} if public else set()), found
    assert {s for who, (s, _) in found.items() if who not in allowed and who != NOBODY} <= {403}
    assert public or found[NOBODY][0] == 401
    assert all(status < 500 for status, _ in found.values()), found


def test_the_document_declares_what_the_server_does(server: Running) -> None:
    """Operations that ask for one permission are open to the same roles, and public is public."""
    paths = server.api.get("/openapi.json")["paths"]
    roles: dict[str, set[frozenset[str]]] = {}
    for operation, public, may in CELLS:
        method, path = operation.split()
        declared = paths.get(path, {}).get(method.lower())
        if declared is None:
            continue  # of the gateways: traffic, and their own health
        assert (declared["security"] == []) == public, operation
        roles.setdefault(declared["description"], set()).add(may)
    assert all(len(found) == 1 for found in roles.values()), roles


def test_a_refusal_names_the_role_and_what_it_lacks(server: Running, keys: dict[str, str]) -> None:
    headers = {"Authorization": f"Bearer {keys['viewer']}"}
    status, told = ask(server, "POST /api/v1/models", headers, 200)

    assert status == 403
    assert "viewer" in told["detail"]
    assert "models.write" in told["detail"]


def test_nothing_was_written_by_all_this(server: Running, keys: dict[str, str]) -> None:
    assert [model["name"] for model in server.api.get("/models")["items"]] == ["bot"]
    assert len(server.api.get("/keys")["items"]) == len(keys) + 1
    assert server.api.get("/deployments")["items"] == []
    assert Path(server.data / "root.key").stat().st_mode & 0o777 == 0o600
