"""What Headway promises of real processes while parts of it are gone."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.chaos.running import Answer, Running, running, until

from headway.testing.postgres import NoPostgres, postgres
from headway.testing.provider import Received, Reply, ScriptedProvider

GOOD, BAD = "1.0.0", "1.1.0"
WITHIN = 2.0
"""Seconds: what is promised of a veto and of a revoked key."""


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running_provider:
        yield running_provider


def test_a_revoked_key_is_refused_and_of_fifty_deployments_one_is_active(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: ScriptedProvider
) -> None:
    with running(tmp_path / "d", monkeypatch, gateways="4") as served:
        served.register(GOOD, base_url=provider.url)
        _fifty_at_once(served)
        until(lambda: served.chat().status == 200, seconds=10, what="the first answer")
        _revoked(served)


def _fifty_at_once(served: Running) -> None:
    plan = {"model": "bot", "to": GOOD, "strategy": "direct"}
    together = threading.Barrier(50)

    def deploy(_: int) -> Answer:
        together.wait()
        return served.request("POST", "/api/v1/deployments", plan)

    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(deploy, range(50)))
    statuses = sorted(answer.status for answer in answers)
    assert statuses == [201] + [409] * 49
    made = next(json.loads(answer.body)["id"] for answer in answers if answer.status == 201)
    listed = served.api.get("/deployments?model=bot")["items"]
    assert [one["id"] for one in listed] == [made]


def _revoked(served: Running) -> None:
    made = json.loads(
        served.request("POST", "/api/v1/keys", {"name": "app", "role": "caller"}).body
    )
    until(lambda: served.chat(made["key"]).status == 200, seconds=5, what="the new key")
    answers: list[tuple[float, int]] = []
    enough = threading.Event()

    def call() -> None:
        while not enough.is_set():
            answers.append((time.monotonic(), served.chat(made["key"]).status))

    with ThreadPoolExecutor(4) as threads:
        for _ in range(4):
            threads.submit(call)
        at = time.monotonic()
        revoked = served.request("DELETE", f"/api/v1/keys/{made['id']}")
        enough.wait(WITHIN + 1)
        enough.set()
    assert revoked.status == 200
    # Who goes on trying with a wrong key is told to wait.
    assert {status for _, status in answers} <= {200, 401, 429}
    last = max(begun for begun, status in answers if status == 200)
    print(f"a revoked key was last taken {last - at:.2f} s after its end")  # noqa: T201 - figures
    assert last - at < WITHIN
    assert answers[-1][1] != 200


def test_what_was_answered_is_there_after_control_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path / "d", monkeypatch, gateways="1") as served:
        answered: list[str] = []
        wanted = [f"bot-{number}" for number in range(400)]
        waiting = iter(wanted)
        killed = threading.Event()

        def create() -> None:
            for name in waiting:
                answer = served.request("POST", "/api/v1/models", {"name": name})
                if answer.status == 201:
                    answered.append(name)
                elif killed.is_set():
                    return

        with ThreadPoolExecutor(4) as threads:
            for _ in range(4):
                threads.submit(create)
            until(lambda: len(answered) > 60, seconds=20, what="sixty models")
            killed.set()
            served.signal("control", signal.SIGKILL)
        until(lambda: _reads(served), seconds=20, what="control")
        stored = {one["name"] for one in served.api.get("/models?limit=500")["items"]}

    assert 60 < len(answered) < len(wanted)
    assert set(answered) <= stored
    assert len(stored) <= len(answered) + 4  # what was on its way may be there


def _reads(served: Running) -> bool:
    return served.request("GET", "/api/v1/models").status == 200


def test_without_control_and_database_a_gateway_goes_back_and_a_new_one_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: ScriptedProvider
) -> None:
    with ExitStack() as stack, ExitStack() as while_there_is_a_database:
        try:
            database = while_there_is_a_database.enter_context(postgres())
        except NoPostgres as error:
            pytest.skip(str(error))
        served = stack.enter_context(
            running(
                tmp_path / "d",
                monkeypatch,
                gateways="2",
                database_url=database.create_database("headway"),
                root_key="5a" * 32,
            )
        )
        served.register(GOOD, BAD, base_url=provider.url)
        served.deploy(to=GOOD, strategy="direct", steps=[{"send": "100%"}])
        until(lambda: _arms(served, 5) == {GOOD}, seconds=15, what="the first version")
        until(lambda: not _active(served), seconds=15, what="its end")
        served.deploy(
            to=BAD,
            steps=[{"send": "50%", "for": "1h"}, {"send": "100%"}],
            judge={"never": {"errors": "> 50%"}},
        )
        until(lambda: _arms(served, 20) == {GOOD, BAD}, seconds=15, what="the canary")

        caller, revoked = (_key(served, name) for name in ("caller", "revoked"))
        served.request("DELETE", f"/api/v1/keys/{revoked['id']}")
        until(lambda: _taken_by_all(served, caller), seconds=5, what="the new key")
        until(lambda: _refused_by_all(served, revoked), seconds=5, what="the end of a key")
        served.signal("control", signal.SIGSTOP)
        while_there_is_a_database.close()
        provider.script = _only_the_good_one_answers
        _goes_back(served)
        _the_last_table_counts(served, caller, revoked)

        provider.script = lambda _: Reply()
        served.signal("control", signal.SIGKILL)
        until(lambda: "control ended with code" in served.log(), seconds=15, what="its new end")
        served.signal("gateway", signal.SIGKILL)
        again = until(lambda: served.chat().status == 200, seconds=10, what="an answer")
        print(f"{again:.2f} s until a new gateway served without a database")  # noqa: T201 - figures
        assert [served.chat().status for _ in range(50)] == [200] * 50


def _key(served: Running, name: str) -> dict[str, str]:
    made = served.request("POST", "/api/v1/keys", {"name": name, "role": "caller"})
    found: dict[str, str] = json.loads(made.body)
    return found


def _taken_by_all(served: Running, key: dict[str, str]) -> bool:
    # One refusal is enough to know: many of them would shut our address out.
    return all(served.chat(key["key"]).status == 200 for _ in range(8))


def _refused_by_all(served: Running, key: dict[str, str]) -> bool:
    # Likewise: as soon as one still takes it, the others are not asked for more refusals.
    return all(served.chat(key["key"]).status != 200 for _ in range(8))


def _the_last_table_counts(
    served: Running, caller: dict[str, str], revoked: dict[str, str]
) -> None:
    """Without a database the keys are those of the last table, and its age is told."""
    assert {served.chat(caller["key"]).status for _ in range(10)} == {200}
    assert _refused_by_all(served, revoked)
    ages = []
    for _ in range(2):
        answer = served.request("GET", "/readyz")
        told = json.loads(answer.body)
        assert (answer.status, told["status"]) == (200, "degraded")
        assert told["parts"]["database"]["state"] == "down"
        ages.append(told["parts"]["database"]["last_answer_ms_ago"])
        assert told["parts"]["routes"]["age_ms"] >= ages[-1] > 1_000 * WITHIN
    assert max(ages) < 60_000


def _goes_back(served: Running) -> None:
    """Call until nobody gets the candidate any more; every gateway by itself."""
    began = time.monotonic()
    answers: list[tuple[float, Answer]] = []

    def call(_: int) -> None:
        while time.monotonic() < began + WITHIN + 1:
            answers.append((time.monotonic() - began, served.chat()))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(call, range(4)))
    failed = [at for at, answer in answers if answer.version == BAD]
    print(f"{len(failed)} on the candidate, the last after {failed[-1]:.2f} s")  # noqa: T201 - figures
    assert max(failed) < WITHIN
    assert {answer.status for at, answer in answers if at > WITHIN} == {200}
    assert {answer.version for at, answer in answers if at > WITHIN} == {GOOD}


def _only_the_good_one_answers(request: Received) -> Reply:
    return Reply() if request.json.get("model") == GOOD else Reply(status=500, error="broken")


def _arms(served: Running, calls: int) -> set[str]:
    return {served.chat().version for _ in range(calls)}


def _active(served: Running) -> bool:
    states = [one["state"] for one in served.api.get("/deployments?model=bot")["items"]]
    return "running" in states
