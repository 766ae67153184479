"""What every work promises of models, versions, aliases, artifacts and keys."""

from dataclasses import replace
from typing import Any

import pytest
from tests.conftest import Begin, Work
from tests.persistence.examples import (
    ARTIFACT,
    NOON,
    artifact,
    ask,
    do,
    key,
    local,
    model,
    version,
)

from headway.auth.role import Role
from headway.auth.session import Session
from headway.kernel.clock import DAY
from headway.kernel.errors import Conflict, Invalid, NotFound
from headway.outbox.answer import Answer, Scope
from headway.registry.model import Alias, Model, State, Version
from headway.registry.ports import ModelQuery, VersionQuery
from headway.registry.requirement import Requirement
from headway.registry.version import SemVer

PRECEDENCE = [
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.9.0",
    "1.10.0",
    "2.0.0",
    "10.0.0-rc.1",
]
"""From clause 11 of the specification, and numbers of several digits."""


def add_models(begin: Begin, *them: Model) -> None:
    def add(work: Work) -> None:
        for one in them:
            work.models.add(one)

    do(begin, add)


def add_versions(begin: Begin, *them: Version) -> None:
    def add(work: Work) -> None:
        for one in them:
            work.versions.add(one)

    do(begin, add)


def models_page(begin: Begin, query: ModelQuery) -> list[str]:
    """Return the names on every page, from the first to the last."""
    names: list[str] = []
    while True:
        page = ask(begin, lambda work: work.models.page(query))  # noqa: B023 - called at once
        assert len(page.items) <= query.limit
        names += [one.name for one in page.items]
        if page.next is None:
            return names
        query = replace(query, after=page.next)


def versions_page(begin: Begin, query: VersionQuery) -> list[str]:
    """Return the numbers on every page, from the first to the last."""
    numbers: list[str] = []
    while True:
        page = ask(begin, lambda work: work.versions.page(query))  # noqa: B023 - called at once
        assert len(page.items) <= query.limit
        numbers += [str(one.number) for one in page.items]
        if page.next is None:
            return numbers
        query = replace(query, after=page.next)


def test_a_model_comes_back_as_it_went_under_a_name_in_any_case(begin: Begin) -> None:
    whole = model("Digits", description="d", tags={"team": "x"}, alternative_ids=("openai/d",))
    added = do(begin, lambda work: work.models.add(whole))
    assert added == replace(whole, revision=1)
    assert ask(begin, lambda work: work.models.get("DIGITS")) == added
    with pytest.raises(NotFound):
        ask(begin, lambda work: work.models.get("openai/d"))


@pytest.mark.parametrize("name", ["\N{KELVIN SIGN}iosk", "Kio\u017fk"])
def test_letters_that_only_fold_to_a_models_name_find_nothing(begin: Begin, name: str) -> None:
    do(begin, lambda work: work.models.add(model("kiosk")))
    with pytest.raises(NotFound):
        ask(begin, lambda work: work.models.get(name))


@pytest.mark.parametrize(
    "second",
    [
        model("DIGITS"),
        model("other", alternative_ids=("Digits",)),
        model("other", alternative_ids=("OPENAI/d",)),
        model("Openai/D"),
    ],
)
def test_a_name_belongs_to_one_model_alone(begin: Begin, second: Model) -> None:
    add_models(begin, model(alternative_ids=("openai/d",)))
    with pytest.raises(Conflict):
        add_models(begin, second)


def test_a_model_is_changed_by_who_read_its_present_revision(begin: Begin) -> None:
    add_models(begin, model(alternative_ids=("a", "b")))
    read = ask(begin, lambda work: work.models.get("digits"))
    changed = replace(
        read, description="new", alternative_ids=("b", "c"), archived=True, updated_at=NOON + 1
    )
    saved = do(begin, lambda work: work.models.save(changed))
    assert saved == replace(changed, revision=2)
    with pytest.raises(Conflict):
        do(begin, lambda work: work.models.save(changed))
    with pytest.raises(NotFound):
        do(begin, lambda work: work.models.save(model("nobody")))
    add_models(begin, model("a"))
    with pytest.raises(Conflict):
        add_models(begin, model("c"))


@pytest.mark.parametrize("order", ["name", "-name", "created", "-created"])
def test_pages_of_models_hold_each_once_in_order(begin: Begin, order: str) -> None:
    names = ["beta", "Alpha", "delta", "Charlie", "echo"]
    add_models(begin, *(model(name, created_at=NOON - i // 2) for i, name in enumerate(names)))
    listed = models_page(begin, ModelQuery(order=order, limit=2))  # type: ignore[arg-type]  # one of the literals
    expected = {
        "name": ["Alpha", "beta", "Charlie", "delta", "echo"],
        "created": ["echo", "Charlie", "delta", "Alpha", "beta"],
    }[order.removeprefix("-")]
    assert listed == (expected[::-1] if order.startswith("-") else expected)


def test_a_page_is_stable_when_models_come_meanwhile(begin: Begin) -> None:
    add_models(begin, *(model(name) for name in ("b", "d", "f")))
    first = ask(begin, lambda work: work.models.page(ModelQuery(limit=2)))
    add_models(begin, model("a"), model("e"))
    assert models_page(begin, ModelQuery(limit=2, after=first.next)) == ["e", "f"]


def test_models_are_found_by_words_and_tags(begin: Begin) -> None:
    add_models(
        begin,
        model("digits", description="Handwritten 100%", tags={"Team": "vision"}),
        model("chat", alternative_ids=("GPT/support",), tags={"team": "text"}),
        model("old", archived=True),
    )
    assert models_page(begin, ModelQuery(q="HAND digits")) == ["digits"]
    assert models_page(begin, ModelQuery(q="gpt/")) == ["chat"]
    assert models_page(begin, ModelQuery(q="100%")) == ["digits"]
    assert models_page(begin, ModelQuery(q="1_0")) == []
    assert models_page(begin, ModelQuery(tag=("team", None))) == ["chat", "digits"]
    assert models_page(begin, ModelQuery(tag=("team", "vision"))) == ["digits"]
    assert models_page(begin, ModelQuery(tag=("te", None))) == []
    assert models_page(begin, ModelQuery(archived=True)) == ["old"]
    assert models_page(begin, ModelQuery(archived=None)) == ["chat", "digits", "old"]


@pytest.mark.parametrize("cursor", ["", "nonsense", "bnVsbA", "WyJuYW1lIiwxXQ", "é", "W10"])
def test_a_cursor_that_no_list_gave_is_refused(begin: Begin, cursor: str) -> None:
    add_models(begin, model())
    with pytest.raises(Invalid) as refused:
        ask(begin, lambda work: work.models.page(ModelQuery(after=cursor)))
    assert refused.value.faults[0].pointer == "/cursor"


def test_a_cursor_of_another_order_is_refused(begin: Begin) -> None:
    add_models(begin, model("a"), model("b"))
    page = ask(begin, lambda work: work.models.page(ModelQuery(limit=1)))
    with pytest.raises(Invalid):
        ask(begin, lambda work: work.models.page(ModelQuery(order="-name", after=page.next)))


def test_a_version_comes_back_as_it_went(begin: Begin) -> None:
    add_models(begin, model("Digits"))
    do(begin, lambda work: work.artifacts.add(artifact()))
    whole = version(
        "2.0.0-rc.1+build.7",
        target=local(),
        description="d",
        tags={"a": "b"},
        state=State.DEPRECATED,
        sunset=NOON,
        successor=SemVer(3, 0, 0),
        reason="r",
    )
    added = do(begin, lambda work: work.versions.add(whole))
    assert added == replace(whole, model="Digits", id=added.id, revision=1)
    found = ask(begin, lambda work: work.versions.find("digits", SemVer.parse("2.0.0-rc.1")))
    assert found == added
    assert str(found.number) == "2.0.0-rc.1+build.7"
    chat = do(begin, lambda work: work.versions.add(version("1.0.0")))
    assert ask(begin, lambda work: work.versions.get("DIGITS", SemVer(1, 0, 0))) == chat


def test_two_numbers_that_differ_in_build_alone_are_one_version(begin: Begin) -> None:
    add_models(begin, model())
    add_versions(begin, version("1.0.0+a"))
    with pytest.raises(Conflict):
        add_versions(begin, version("1.0.0+b"))


def test_a_refused_version_leaves_the_transaction_whole(begin: Begin) -> None:
    add_models(begin, model())
    add_versions(begin, version("1.0.0"))

    def twice(work: Work) -> None:
        with pytest.raises(Conflict):
            work.versions.add(version("1.0.0"))
        work.versions.add(version("1.1.0"))

    do(begin, twice)
    assert ask(begin, lambda work: work.versions.highest("digits")) == SemVer(1, 1, 0)


def test_a_version_needs_its_model_and_its_artifact(begin: Begin) -> None:
    with pytest.raises(NotFound):
        add_versions(begin, version())
    add_models(begin, model())
    with pytest.raises(Conflict):
        add_versions(begin, version(target=local()))


def test_of_a_version_only_what_lies_outside_the_digest_changes(begin: Begin) -> None:
    add_models(begin, model())
    added = do(begin, lambda work: work.versions.add(version()))
    changed = replace(
        added,
        description="new",
        tags={"x": "y"},
        state=State.YANKED,
        reason="bad",
        updated_at=NOON + 1,
        digest="sha256:other",
        metadata={},
    )
    saved = do(begin, lambda work: work.versions.save(changed))
    assert saved == replace(changed, revision=2, digest=added.digest, metadata=added.metadata)
    with pytest.raises(Conflict):
        do(begin, lambda work: work.versions.save(changed))
    with pytest.raises(NotFound):
        do(begin, lambda work: work.versions.save(version("9.0.0")))


def test_versions_are_in_the_order_of_the_specification(begin: Begin) -> None:
    add_models(begin, model(), model("other"))
    shuffled = sorted(PRECEDENCE, key=lambda number: number[::-1])
    add_versions(begin, *(version(number) for number in shuffled), version("99.0.0", of="other"))
    up = versions_page(begin, VersionQuery("Digits", order="precedence", limit=3))
    down = versions_page(begin, VersionQuery("digits", limit=4))
    assert up == PRECEDENCE
    assert down == PRECEDENCE[::-1]
    assert str(ask(begin, lambda work: work.versions.highest("digits"))) == "10.0.0-rc.1"


def test_versions_are_listed_by_time_too(begin: Begin) -> None:
    add_models(begin, model())
    add_versions(
        begin,
        *(
            version(number, created_at=NOON + at)
            for number, at in (("3.0.0", 0), ("1.0.0", 0), ("2.0.0", -1))
        ),
    )
    listed = versions_page(begin, VersionQuery("digits", order="created", limit=1))
    assert listed == ["2.0.0", "3.0.0", "1.0.0"]
    listed = versions_page(begin, VersionQuery("digits", order="-created", limit=2))
    assert listed == ["1.0.0", "3.0.0", "2.0.0"]


def test_latest_is_the_highest_active_release_or_else_pre_release(begin: Begin) -> None:
    add_models(begin, model())

    def latest() -> str:
        found = ask(begin, lambda work: work.versions.latest("DIGITS"))
        return str(found.number) if found else ""

    assert latest() == ""
    add_versions(begin, version("2.0.0-rc.1"))
    assert latest() == "2.0.0-rc.1"
    add_versions(begin, version("1.9.0"), version("1.10.0"), version("3.0.0", state=State.YANKED))
    assert latest() == "1.10.0"


def test_versions_are_found_by_range_state_tag_and_words(begin: Begin) -> None:
    add_models(begin, model())
    add_versions(
        begin,
        *(version(f"1.{minor}.0") for minor in range(12)),
        version("2.0.0", description="Cheaper prompt", tags={"team": "search"}),
        version("2.1.0", state=State.RETIRED),
    )

    def listed(query: VersionQuery) -> list[str]:
        return versions_page(begin, query)

    ranged = VersionQuery("digits", requirement=Requirement.parse("1.3 || >=1.9 <1.11"), limit=1)
    assert listed(ranged) == ["1.10.0", "1.9.0", "1.3.0"]
    assert listed(VersionQuery("digits", state=State.RETIRED)) == ["2.1.0"]
    assert listed(VersionQuery("digits", tag=("Team", "search"))) == ["2.0.0"]
    assert listed(VersionQuery("digits", q="CHEAPER team=search")) == ["2.0.0"]
    assert listed(VersionQuery("digits", q="2.1")) == ["2.1.0"]
    assert listed(VersionQuery("nobody")) == []


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("", "10.0.0 9.1.0 9.0.0 1.2.3 1.0.0"),
        ("*", "10.0.0 9.1.0 9.0.0 1.2.3 1.0.0"),
        ("^9", "9.1.0 9.0.0"),
        (">9.0.0", "10.0.0 9.1.0"),
        ("<10.0.0", "9.1.0 9.0.0 1.2.3 1.0.0"),
        ("9 - 10", "10.0.0 9.1.0 9.0.0"),
        ("=1.2.3 || >=10", "10.0.0 1.2.3"),
        ("1.2.3-rc.2", "1.2.3-rc.2"),
        ("^1.2.3-rc.2", "1.2.3 1.2.3-rc.10 1.2.3-rc.2"),
        ("<9.1.0-0", "9.0.0 1.2.3 1.0.0"),
        ("<=9.1.0-beta", "9.1.0-beta 9.1.0-alpha.1 9.0.0 1.2.3 1.0.0"),
        ("^1.2.3-rc || ~9.1.0-beta", "9.1.0 9.1.0-beta 1.2.3 1.2.3-rc.10 1.2.3-rc.2"),
        (">9.1.0-0 <9.0.0", ""),
        ("<*", ""),
        ("^8", ""),
    ],
)
def test_a_range_finds_what_it_allows(begin: Begin, text: str, allowed: str) -> None:
    there = (
        "1.0.0 1.2.3-rc.2 1.2.3-rc.10 1.2.3 9.0.0-rc.1 9.0.0 9.1.0-alpha.1 9.1.0-beta 9.1.0 10.0.0"
    )
    add_models(begin, model(), model("other"))
    add_versions(begin, *map(version, there.split()), version("8.1.0", of="other"))
    add_versions(begin, version("77.0.0-rc.1"), version("8.0.0", state=State.DEPRECATED))
    requirement = Requirement.parse(text)

    query = VersionQuery("digits", requirement=requirement, state=State.ACTIVE, limit=2)
    best = ask(begin, lambda work: work.versions.best("Digits", requirement, State.ACTIVE))

    assert versions_page(begin, query) == allowed.split()
    assert (str(best.number) if best else "") == allowed.partition(" ")[0]


def test_an_alias_moves_and_remembers_where_it_was(begin: Begin) -> None:
    add_models(begin, model("Digits"))
    one, two = SemVer(1, 0, 0), SemVer(2, 0, 0)
    new = Alias("digits", "Champion", one, NOON, "ada", "first")
    first = do(begin, lambda work: work.aliases.save(new))
    assert first == replace(new, model="Digits", revision=1)
    moved = do(
        begin,
        lambda work: work.aliases.save(replace(first, version=two, changed_at=NOON + 5, why="up")),
    )
    gone = replace(moved, version=None, changed_at=NOON + 9)
    assert do(begin, lambda work: work.aliases.save(gone)).revision == 3
    with begin() as work:
        history = work.aliases.history("digits", "champion")
        assert [change.version for change in history] == [None, two, one]
        assert [change.revision for change in history] == [3, 2, 1]
        assert history[1].why == "up"
        at = work.aliases.at("digits", "CHAMPION", NOON + 8)
        assert at is not None
        assert at.version == two
        assert work.aliases.at("digits", "champion", NOON - 1) is None
        assert work.aliases.find("digits", "champion") == replace(gone, revision=3)
        assert work.aliases.of("digits") == []
        assert work.aliases.find("digits", "nobody") is None


def test_aliases_that_point_to_something_are_listed_by_name(begin: Begin) -> None:
    add_models(begin, model(), model("other"))

    def add(work: Work) -> None:
        for of, name in (("digits", "b"), ("digits", "A"), ("other", "c")):
            work.aliases.save(Alias(of, name, SemVer(1, 0, 0), NOON, "ada"))

    do(begin, add)
    listed = ask(begin, lambda work: [one.name for one in work.aliases.of("Digits")])
    assert listed == ["A", "b"]


def test_an_alias_is_moved_by_who_read_where_it_was(begin: Begin) -> None:
    add_models(begin, model())
    new = Alias("digits", "champion", SemVer(1, 0, 0), NOON, "ada")
    do(begin, lambda work: work.aliases.save(new))
    for stale in (new, replace(new, name="CHAMPION"), replace(new, revision=2)):
        with pytest.raises(Conflict):
            do(begin, lambda work, stale=stale: work.aliases.save(stale))  # type: ignore[misc]  # a default binds it
    with pytest.raises(Conflict):
        do(begin, lambda work: work.aliases.save(replace(new, name="other", revision=1)))


def test_an_artifact_is_pinned_by_every_version_that_needs_it(begin: Begin) -> None:
    assert do(begin, lambda work: work.artifacts.add(artifact())) is True
    assert do(begin, lambda work: work.artifacts.add(replace(artifact(), size=1))) is False
    assert ask(begin, lambda work: work.artifacts.get(ARTIFACT)) == artifact()
    add_models(begin, model())
    add_versions(
        begin, version(target=local()), version("1.1.0"), version("0.1.0+b", target=local())
    )
    pins = ask(begin, lambda work: work.artifacts.pins(ARTIFACT))
    assert list(pins) == ["digits@1.0.0", "digits@0.1.0+b"]
    with pytest.raises(Conflict) as refused:
        do(begin, lambda work: work.artifacts.remove(ARTIFACT))
    assert refused.value.stands_in_the_way == "digits@1.0.0"


def test_a_mark_on_an_artifact_shows_on_every_version_that_needs_it(begin: Begin) -> None:
    do(begin, lambda work: work.artifacts.add(artifact()))
    add_models(begin, model())
    add_versions(
        begin, version(target=local()), version("1.1.0"), version("1.2.0", target=local())
    )

    def marks() -> list[int | None]:
        page = ask(begin, lambda work: work.versions.page(VersionQuery("digits", order="created")))
        return [one.corrupt_at for one in page.items]

    assert marks() == [None, None, None]
    assert do(begin, lambda work: work.artifacts.mark(ARTIFACT, NOON)) is True
    assert do(begin, lambda work: work.artifacts.mark(ARTIFACT, NOON + 1)) is False
    assert marks() == [NOON, None, NOON]
    for number in ("1.0.0", "1.2.0"):
        with begin() as work:
            found = work.versions.get("digits", SemVer.parse(number))
        assert found.corrupt_at == NOON
    latest = ask(begin, lambda work: work.versions.latest("digits"))
    assert latest.corrupt_at == NOON
    saved = do(begin, lambda work: work.versions.save(replace(latest, description="d")))
    assert (saved.description, saved.corrupt_at) == ("d", NOON)
    assert list(ask(begin, lambda work: work.artifacts.corrupt())) == [ARTIFACT]

    assert do(begin, lambda work: work.artifacts.mark(ARTIFACT, None)) is True
    assert do(begin, lambda work: work.artifacts.mark(ARTIFACT, None)) is False
    assert marks() == [None, None, None]
    assert list(ask(begin, lambda work: work.artifacts.corrupt())) == []
    assert do(begin, lambda work: work.artifacts.mark(f"sha256:{'0' * 64}", NOON)) is False


def test_an_artifact_that_nobody_needs_can_go(begin: Begin) -> None:
    do(begin, lambda work: work.artifacts.add(artifact()))
    do(begin, lambda work: work.artifacts.remove(ARTIFACT))
    assert ask(begin, lambda work: work.artifacts.find(ARTIFACT)) is None
    for missing in (
        lambda work: work.artifacts.remove(ARTIFACT),
        lambda work: work.artifacts.get(ARTIFACT),
    ):
        with pytest.raises(NotFound):
            do(begin, missing)


def test_a_key_comes_back_as_it_went(begin: Begin) -> None:
    whole = key(models=("digits", "chat*"), environments=("production",), expires_at=NOON + DAY)
    added = do(begin, lambda work: work.keys.add(whole))
    assert added == replace(whole, revision=1)
    with begin() as work:
        assert work.keys.get("k1") == added
        assert work.keys.by_digest("k1" * 32) == added
        assert work.keys.by_digest("no") is None
        with pytest.raises(NotFound):
            work.keys.get("k2")


@pytest.mark.parametrize("second", [key("k1", digest="x"), key("k2", digest="k1" * 32)])
def test_ids_and_digests_of_keys_are_unique(begin: Begin, second: object) -> None:
    do(begin, lambda work: work.keys.add(key()))
    with pytest.raises(Conflict):
        do(begin, lambda work: work.keys.add(second))  # type: ignore[arg-type]  # a key


def test_a_revoked_key_stays_but_is_no_longer_among_all(begin: Begin) -> None:
    added = do(begin, lambda work: work.keys.add(key()))
    revoked = do(
        begin, lambda work: work.keys.save(replace(added, revoked_at=NOON, role=Role.VIEWER))
    )
    assert revoked == replace(added, revoked_at=NOON, revision=2)
    with pytest.raises(Conflict):
        do(begin, lambda work: work.keys.save(added))
    with begin() as work:
        assert work.keys.get("k1") == revoked
        assert list(work.keys.all()) == []


def test_keys_are_listed_newest_first(begin: Begin) -> None:
    def add(work: Work) -> None:
        for key_id, at in (("k1", 0), ("k3", 1), ("k2", 1)):
            work.keys.add(key(key_id, created_at=NOON + at))

    do(begin, add)
    with begin() as work:
        assert [one.id for one in work.keys.list(limit=2)] == ["k3", "k2"]
        assert [one.id for one in work.keys.list(limit=9, after="k3")] == ["k2", "k1"]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, True),
        ({"role": Role.DEPLOYER}, False),
        ({"models": ("digits",)}, False),
        ({"expires_at": NOON}, False),
        ({"expires_at": NOON + 1}, True),
        ({"revoked_at": NOON}, False),
    ],
)
def test_an_admin_is_one_whose_key_works_for_all_models(
    begin: Begin, more: dict[str, Any], *, expected: bool
) -> None:
    do(begin, lambda work: work.keys.add(key(**more)))
    assert ask(begin, lambda work: work.keys.has_admin(NOON)) is expected


def test_the_last_use_of_a_key_never_goes_back(begin: Begin) -> None:
    added = do(begin, lambda work: work.keys.add(key()))
    for key_id, minute in (("k1", NOON), ("k1", NOON - 1), ("unknown", NOON)):
        do(begin, lambda work, k=key_id, m=minute: work.keys.used(k, m))  # type: ignore[misc]  # defaults bind them
    assert ask(begin, lambda work: work.keys.get("k1")) == replace(added, last_used=NOON)


def test_a_session_is_seen_and_revoked(begin: Begin) -> None:
    session = Session(digest="d1", key_id="k1", created_at=NOON, seen_at=NOON)

    def add(work: Work) -> None:
        work.keys.add(key())
        work.sessions.add(session)
        work.sessions.add(replace(session, digest="d2", created_at=NOON - DAY))
        work.sessions.seen("d1", NOON + 5)
        work.sessions.seen("d1", NOON + 3)

    do(begin, add)
    assert ask(begin, lambda work: work.sessions.find("d1")) == replace(session, seen_at=NOON + 5)
    do(begin, lambda work: work.sessions.revoke("d1", NOON + 6))
    do(begin, lambda work: work.sessions.revoke("d1", NOON + 7))
    with begin() as work:
        revoked = [work.sessions.find(digest) for digest in ("d1", "d2")]
        assert [one and one.revoked_at for one in revoked] == [NOON + 6, None]
        assert work.sessions.find("d3") is None
    assert do(begin, lambda work: work.sessions.prune(before=NOON, limit=9)) == 1
    assert ask(begin, lambda work: work.sessions.find("d2")) is None


def test_an_answer_is_kept_for_its_scope_until_it_is_a_day_old(begin: Begin) -> None:
    scope = Scope(key_id="k1", method="POST", path="/models", key="abc")
    answer = Answer(
        scope=scope, digest="d", status=201, headers={"ETag": "1"}, body=b"\x00{}", created_at=NOON
    )
    do(begin, lambda work: work.idempotency.put(answer))
    assert ask(begin, lambda work: work.idempotency.find(scope)) == answer
    assert ask(begin, lambda work: work.idempotency.find(replace(scope, method="PUT"))) is None
    with pytest.raises(Conflict):
        later = replace(answer, created_at=NOON + DAY - 1)
        do(begin, lambda work: work.idempotency.put(later))
    anew = replace(answer, created_at=NOON + DAY, body=b"new")
    do(begin, lambda work: work.idempotency.put(anew))
    assert ask(begin, lambda work: work.idempotency.find(scope)) == anew
    assert do(begin, lambda work: work.idempotency.prune(before=NOON + DAY, limit=9)) == 0
    assert do(begin, lambda work: work.idempotency.prune(before=NOON + DAY + 1, limit=9)) == 1


def test_the_first_value_of_a_setting_stays(begin: Begin) -> None:
    assert ask(begin, lambda work: work.settings.get("root")) is None
    assert do(begin, lambda work: work.settings.keep("root", "a")) == "a"
    assert do(begin, lambda work: work.settings.keep("root", "b")) == "a"
    assert ask(begin, lambda work: work.settings.get("root")) == "a"
