"""What every work promises of routes, snapshots and what gateways read, asked of each of them."""

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.conftest import Begin, Work
from tests.persistence.examples import (
    NOON,
    PLAN,
    artifact,
    ask,
    deployment,
    do,
    key,
    local,
    model,
    route,
    snapshot,
    version,
)

from headway.auth.role import Role
from headway.deployments.deployment import State as DeploymentState
from headway.deployments.plan import GoingBack
from headway.deployments.rollback import Rollback, RollbackState
from headway.kernel.clock import DAY, HOUR, MINUTE, utc_now
from headway.kernel.errors import Conflict, NotFound
from headway.registry.model import Alias, State
from headway.registry.version import SemVer
from headway.routing.route import Ages, Epoch, Guard

EPOCH = Epoch(
    deployment="dep_1",
    step=2,
    alpha=0.01,
    first_gateway=3,
    ages={"errors": Ages(2_000, 600_000)},
    thresholds_ms={"p95": 120.5},
    margin={"errors": 0.2},
)


def publish(begin: Begin, *numbers: str) -> None:
    def add(work: Work) -> None:
        for revision, number in enumerate(numbers, 1):
            work.routes.add(route(revision, serves=number))

    do(begin, add)


def test_a_revision_comes_back_as_it_went(begin: Begin) -> None:
    whole = route(
        epoch=EPOCH,
        guards=(Guard(arm="candidate", metric="latency", above=0.05, slower_than_ms=900),),
        slices=("country",),
        fallback="small",
        stick_to="header:X-Team",
    )
    added = do(begin, lambda work: work.routes.add(whole))
    assert 0 < added.id < 2**32
    with begin() as work:
        assert work.routes.current("DIGITS", "Production") == added
        assert work.routes.get("digits", "production", 1) == added
        assert work.routes.by_id(added.id) == added
        assert work.routes.current("digits", "production").text() == whole.text()


def test_what_is_not_there_is_not_found(begin: Begin) -> None:
    with begin() as work:
        for read in (
            lambda: work.routes.current("digits", "production"),
            lambda: work.routes.get("digits", "production", 1),
            lambda: work.routes.by_id(7),
            lambda: work.routes.at("digits", "production", NOON),
            lambda: work.snapshots.get("snap_1"),
        ):
            with pytest.raises(NotFound):
                read()


def test_the_past_of_a_route_can_be_read(begin: Begin) -> None:
    publish(begin, "1.0.0", "1.1.0", "1.2.0")
    with begin() as work:
        assert work.routes.current("digits", "production").revision == 3
        assert work.routes.at("digits", "production", NOON + 2).revision == 2
        newest = work.routes.revisions("digits", "production", before=3, limit=1)
        assert [one.revision for one in newest] == [2]
        assert len(work.routes.revisions("digits", "production", before=9, limit=9)) == 3
        with pytest.raises(NotFound):
            work.routes.at("digits", "production", NOON)


@pytest.mark.parametrize("revision", [1, 3])
def test_a_revision_must_be_the_one_after_the_current_one(begin: Begin, revision: int) -> None:
    publish(begin, "1.0.0")
    with pytest.raises(Conflict):
        do(begin, lambda work: work.routes.add(route(revision)))
    assert ask(begin, lambda work: len(work.routes.all_current())) == 1


def test_a_route_begins_with_its_first_revision(begin: Begin) -> None:
    with pytest.raises(Conflict):
        do(begin, lambda work: work.routes.add(route(2)))


def test_routes_are_listed_by_model_and_environment(begin: Begin) -> None:
    def add(work: Work) -> None:
        for name, environment in (("b", "production"), ("a", "staging"), ("A", "production")):
            work.routes.add(route(of=name, environment=environment))

    do(begin, add)
    listed = ask(begin, lambda work: [one.name for one in work.routes.all_current()])
    assert listed == ["A/production", "a/staging", "b/production"]


def test_who_serves_a_model_is_known_by_version_too(begin: Begin) -> None:
    publish(begin, "1.0.0", "1.1.0")
    do(begin, lambda work: work.routes.add(route(environment="off", enabled=False)))
    with begin() as work:
        assert list(work.routes.serving("Digits")) == ["production"]
        assert list(work.routes.serving("digits", SemVer.parse("1.1.0+build"))) == ["production"]
        assert list(work.routes.serving("digits", SemVer.parse("1.0.0"))) == []


def test_the_generation_rises_once_with_each_change_of_what_gateways_read(begin: Begin) -> None:
    seen = [0]

    def changes(*, by: int) -> None:
        seen.append(ask(begin, lambda work: work.routes.generation()))
        assert seen[-1] - seen[-2] == by

    do(begin, lambda work: work.models.add(model()))
    changes(by=1)
    do(begin, lambda work: work.artifacts.add(artifact()))
    changes(by=0)
    added = do(begin, lambda work: work.versions.add(version()))
    changes(by=1)
    do(begin, lambda work: work.versions.save(replace(added, state=State.DEPRECATED)))
    changes(by=1)
    do(begin, lambda work: work.aliases.save(Alias("digits", "champion", None, NOON, "ada")))
    changes(by=1)
    do(begin, lambda work: work.keys.add(key()))
    changes(by=1)
    do(begin, lambda work: work.keys.used("k1", NOON))
    changes(by=0)
    publish(begin, "1.0.0", "1.1.0")
    changes(by=1)
    do(begin, lambda work: work.snapshots.add(snapshot("snap_1")))
    changes(by=0)


def test_a_transaction_knows_the_generation_that_it_makes(begin: Begin) -> None:
    publish(begin, "1.0.0")

    def add(work: Work) -> int:
        work.routes.add(route(2))
        return work.routes.generation()

    assert do(begin, add) == 2
    assert ask(begin, lambda work: work.source.generation()) == 2


def test_snapshots_are_listed_newest_first(begin: Begin) -> None:
    def add(work: Work) -> None:
        for one in ("snap_1", "snap_3", "snap_2"):
            work.snapshots.add(snapshot(one))
        work.snapshots.add(snapshot("snap_4", environment="staging"))

    do(begin, add)
    with begin() as work:
        listed = work.snapshots.of("Digits", "production", before="snap_3", limit=9)
        assert [one.id for one in listed] == ["snap_2", "snap_1"]
        assert len(work.snapshots.of("digits", "production", before=None, limit=2)) == 2
        assert work.snapshots.get("snap_1") == snapshot("snap_1")
    with pytest.raises(Conflict):
        do(begin, lambda work: work.snapshots.add(snapshot("snap_1")))


def test_versions_of_current_routes_and_of_fresh_snapshots_are_kept_warm(begin: Begin) -> None:
    publish(begin, "1.0.0", "1.1.0", "1.2.0", "1.3.0")
    short = replace(PLAN, going_back=GoingBack(keep_warm=HOUR))

    def add(work: Work) -> None:
        work.deployments.add(deployment("dep_1", plan=short, state=DeploymentState.SUCCEEDED))
        work.snapshots.add(snapshot("snap_1", 1, created_at=NOON))
        work.snapshots.add(snapshot("snap_2", 2, created_at=NOON, deployment="dep_1"))
        work.snapshots.add(snapshot("snap_3", 3, created_at=NOON + 5, deployment="dep_1"))

    do(begin, add)

    def warm(now: int) -> list[str]:
        found = ask(begin, lambda work: work.snapshots.warm_versions(now=now))
        assert {model for model, _ in found} == {"digits"}
        return [number for _, number in found]

    assert warm(NOON + HOUR - 1) == ["1.0.0", "1.1.0", "1.2.0", "1.3.0"]
    assert warm(NOON + HOUR) == ["1.0.0", "1.2.0", "1.3.0"]
    assert warm(NOON + DAY - 1) == ["1.0.0", "1.3.0"]
    assert warm(NOON + DAY) == ["1.3.0"]


def test_the_version_that_a_route_falls_back_to_is_kept_warm(begin: Begin) -> None:
    do(begin, lambda work: work.routes.add(route(1, serves="1.0.0", fallback="0.9.0")))
    do(begin, lambda work: work.routes.add(route(1, of="other", fallback="small")))

    found = ask(begin, lambda work: work.snapshots.warm_versions(now=NOON))

    assert ("digits", "0.9.0") in found
    assert ("digits", "1.0.0") in found
    assert "small" not in {number for _, number in found}  # a model has a route of its own


def test_gateways_read_everything_in_one_document(begin: Begin) -> None:
    soon = utc_now() + MINUTE

    def fill(work: Work) -> None:
        work.artifacts.add(artifact())
        for name, known_as in (("digits", "pmpt_1"), ("other", "pmpt_2")):
            named = model(name, archived=name == "other", alternative_ids=(known_as,))
            work.models.add(named)
            for number in ("1.0.0", "1.1.0", "1.2.0"):
                work.versions.add(version(number, of=name, target=local()))
            work.aliases.save(Alias(name, "champion", SemVer(1, 1, 0), NOON, "ada"))
            work.aliases.save(Alias(name, "gone", None, NOON, "ada"))
        work.keys.add(key("k1", models=("digits",), expires_at=soon))
        work.keys.add(key("k2", role=Role.CALLER))
        work.keys.save(replace(work.keys.get("k2"), revoked_at=NOON))
        work.keys.add(key("k3", expires_at=utc_now() - 1))
        work.routes.add(route(epoch=EPOCH, guards=(Guard(arm="a", metric="errors", above=0.1),)))

    do(begin, fill)

    def retire(work: Work) -> None:
        for number in ("1.0.0", "1.2.0"):
            found = work.versions.get("digits", SemVer.parse(number))
            work.versions.save(replace(found, state=State.RETIRED))

    do(begin, retire)
    with begin() as work:
        document = work.source.document()
        published = work.routes.current("digits", "production")

    assert json.loads(json.dumps(document)) == {
        "generation": 2,
        "at": document["at"],
        "keys": [
            {
                "digest": "k1" * 32,
                "id": "k1",
                "name": "ada",
                "role": "admin",
                "models": ["digits"],
                "environments": ["*"],
                "paths": ["*"],
                "limits": {},
                "expires_at": soon,
            }
        ],
        "routes": [
            {
                "id": published.id,
                "model": "digits",
                "environment": "production",
                "revision": 1,
                "created_at": published.created_at,
                "declared": published.declared(),
                "epoch": {
                    "deployment": "dep_1",
                    "step": 2,
                    "alpha": 0.01,
                    "first_gateway": 3,
                    "ages": {"errors": [2_000, 600_000]},
                    "thresholds_ms": {"p95": 120.5},
                    "margin": {"errors": 0.2},
                    "pin_for": 86_400_000,
                },
                "guards": [{"arm": "a", "metric": "errors", "above": 0.1, "slower_than_ms": None}],
                "rolled_back": {},
            }
        ],
        "versions": [
            {
                "model": "digits",
                "version": number,
                "digest": f"sha256:{number}",
                "state": state,
                "target": local().document(),
                "prices": [],
            }
            for number, state in (("1.0.0", "retired"), ("1.1.0", "active"))
        ],
        "aliases": [{"model": "digits", "alias": "champion", "version": "1.1.0"}],
        "names": [{"name": "pmpt_1", "model": "digits"}],
    }


@pytest.mark.parametrize(("age", "told"), [(DAY, {"1.1.0": 3}), (8 * DAY, {})])
def test_gateways_are_told_what_was_taken_off_by_a_rollback_of_late(
    begin: Begin, age: int, told: dict[str, int]
) -> None:
    publish(begin, "1.0.0", "1.1.0", "1.0.0")
    publish_elsewhere = route(of="other")
    rollback = Rollback(
        id="rb_1",
        model="Digits",
        environment="production",
        state=RollbackState.FINISHED,
        from_revision=2,
        to_revision=1,
        published=3,
        generation=3,
        automatic=True,
        actor="headway",
        why="worse",
        created_at=utc_now() - age,
    )

    def fill(work: Work) -> None:
        work.routes.add(publish_elsewhere)
        work.rollbacks.add(rollback)

    do(begin, fill)
    with begin() as work:
        document: Any = work.source.document()
    routes = {each["model"]: each for each in document["routes"]}

    assert routes["digits"]["rolled_back"] == told
    assert routes["other"]["rolled_back"] == {}
