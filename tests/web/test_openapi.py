"""The OpenAPI document is what the application does: nothing more, nothing less, never a 5xx."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from cheroot.wsgi import Server
from flask import Flask
from openapi_spec_validator import validate
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from tests.web.world import Api, MakeApi, World

from headway.web import openapi

OPENAI = {"provider": "openai", "base_url": "https://api.example.com/v1", "model": "m"}
WHOLE = [{"arms": [{"key": "stable", "version": "1.0.0", "share_bp": 10_000}]}]
EVERY_REFUSAL = ["400", "403", "404", "405", "409", "412", "413", "415", "422", "428"]


@pytest.fixture
def document(app: Flask) -> dict[str, Any]:
    with app.app_context():
        return openapi.document(app)


def test_it_is_a_valid_document_and_served(api: MakeApi, document: dict[str, Any]) -> None:
    validate(document)
    assert api(None).done("GET", "/openapi.json") == document


def test_every_path_of_the_application_is_in_it(app: Flask, document: dict[str, Any]) -> None:
    served = {rule.rule.replace("<", "{").replace(">", "}") for rule in app.url_map.iter_rules()}
    described = {path.replace("{", "").replace("}", "") for path in document["paths"]}
    assert {path.split("/")[-1] for path in described} == {
        path.split("/")[-1].split(":")[-1].rstrip("}").replace("{", "") for path in served
    }
    assert len(document["paths"]) == len(served)


def test_every_operation_says_what_it_asks_and_refuses(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            assert said["summary"], (method, path)
            assert "permission" in said["description"]
            # What the public port answers before anything is asked of an operation.
            assert {"400", "414", "431"} <= said["responses"].keys()
            if said["security"]:
                assert {"401", "403", "429", "503"} <= said["responses"].keys()
            problems = {status for status in said["responses"] if int(status) >= 400}
            for status in problems:
                assert "application/problem+json" in said["responses"][status]["content"]


def test_the_words_of_a_change_are_declared(document: dict[str, Any]) -> None:
    create = document["paths"]["/api/v1/models"]["post"]
    remove = document["paths"]["/api/v1/models/{model}/aliases/{alias}"]["delete"]

    assert {p["name"] for p in create["parameters"]} == {"dry_run", "Idempotency-Key"}
    match = next(p for p in remove["parameters"] if p["name"] == "If-Match")
    assert match["required"] is True
    assert "428" in remove["responses"]


@pytest.fixture
def address(app: Flask) -> Iterator[str]:
    server = Server(("127.0.0.1", 0), app, numthreads=2)
    server.prepare()
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield f"http://127.0.0.1:{server.bind_addr[1]}"
    server.stop()
    thread.join()


def lived_in(admin: Api) -> dict[str, str]:
    """Put something of each kind there; return what the parts of a path may be."""
    admin.done("POST", "/models", {"name": "bot"})
    for number in ("1.0.0", "1.1.0"):
        body = {"version": number, "target": OPENAI | {"model": number}}
        admin.done("POST", "/models/bot/versions", body)
    admin.done("PUT", "/models/bot/aliases/champion", {"version": "1.0.0"})
    admin.done("PUT", "/routes/bot/production", {"rules": WHOLE})
    deployment = admin.done("POST", "/deployments", {"model": "bot", "to": "1.1.0"})
    return {
        "path.model": "bot",
        "path.environment": "production",
        "path.ref": "1.0.0",
        "path.alias": "champion",
        "path.number": "1",
        "path.deployment_id": deployment["id"],
        "path.digest": admin.done("POST", "/artifacts", data=b"bytes")["digest"],
    }


@pytest.mark.parametrize("there", [False, True], ids=["names by chance", "names that are there"])
def test_no_request_finds_a_5xx_or_an_answer_that_is_not_documented(
    address: str, world: World, admin: Api, *, there: bool
) -> None:
    names = lived_in(admin)
    schema = schemathesis.openapi.from_url(
        f"{address}/api/v1/openapi.json",
        config=SchemathesisConfig.from_dict(
            {
                "seed": 7,
                "headers": {"Authorization": f"Bearer {world.key('admin')}"},
                "parameters": names if there else {},
                "generation": {
                    "max-examples": 15 if there else 4,
                    "deterministic": True,
                    "database": "none",
                },
                "phases": {"stateful": {"enabled": False}, "coverage": {"enabled": not there}},
                "checks": {
                    # Twenty wrong keys, and the address has to wait: tested elsewhere.
                    "ignored_auth": {"enabled": False},
                    # What the schema cannot say (a port that is none, a model that is missing).
                    "positive_data_acceptance": {"enabled": False},
                    # With names that are there, a broken name of the schema's own is put right.
                    "negative_data_rejection": {
                        "enabled": not there,
                        "expected-statuses": EVERY_REFUSAL,
                    },
                    "missing_required_header": {"expected-statuses": EVERY_REFUSAL},
                },
            }
        ),
    )
    checked, faults = 0, []
    for event in from_schema(schema).execute():
        assert not isinstance(event, events.NonFatalError | events.FatalError), event
        if not isinstance(event, events.ScenarioFinished):
            continue
        for case_id, checks in event.recorder.checks.items():
            checked += len(checks)
            faults += [
                f"{check.name}: {check.failure_info.failure}\n"
                f"{event.recorder.cases[case_id].value.as_curl_command()[:800]}"
                for check in checks
                if check.failure_info is not None
            ]

    assert not faults, "\n\n".join(faults[:5])
    assert checked > 1000
