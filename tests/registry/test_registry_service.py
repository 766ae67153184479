"""What people ask of the registry: register, find, change what may change, point aliases."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from headway.artifacts.artifact import Artifact
from headway.kernel.canonical import Json
from headway.kernel.errors import (
    Conflict,
    Invalid,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
    Refused,
    Unavailable,
    Unsupported,
)
from headway.outbox.actor import Actor
from headway.registry.model import State, Version
from headway.registry.ports import ModelQuery, VersionQuery
from headway.registry.release import tag_filter
from headway.registry.requirement import Requirement
from headway.registry.service import Registered, RegistryService
from headway.registry.signature import Description, Tensor
from headway.registry.version import SemVer
from headway.routing.route import Arm, Role, Route, Rule, Segment
from headway.testing import memory

ADA = Actor("ada (k1)", "person")
ARTIFACT = "sha256:" + "ab" * 32


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> memory.Store:
    store = memory.Store()
    with memory.begin(store, clock) as work:
        work.artifacts.add(Artifact(ARTIFACT, 10, 0, "ada"))
        work.commit()
    return store


@pytest.fixture
def registry(store: memory.Store, clock: Clock) -> RegistryService:
    service = RegistryService(begin=partial(memory.begin, store, clock), clock=clock)
    service.register_model("Bot", actor=ADA, description="answers")
    return service


def chat(model: str = "gpt-5-mini", **more: Json) -> dict[str, Json]:
    return {"provider": "openai", "base_url": "https://x.org", "model": model, **more}


def local() -> dict[str, Json]:
    return {"runtime": "onnx", "artifact": ARTIFACT}


def register(
    registry: RegistryService, number: str, target: dict[str, Json] | None = None, **more: Json
) -> Registered:
    wanted: dict[str, Json] = {"bump": number} if number.isalpha() else {"version": number}
    document = {**wanted, "target": target or chat(f"m-{number}"), **more}
    return registry.register_version("bot", registry.release(document), actor=ADA)


def serve(store: memory.Store, clock: Clock, number: str, *, revision: int = 1) -> None:
    with memory.begin(store, clock) as work:
        arm = Arm("stable", number, "sha256:0", Role.STABLE)
        rule = Rule((arm,), (Segment("stable", 10_000),))
        work.routes.add(
            Route(
                model="Bot", environment="production", rules=(rule,), salt="s", revision=revision
            )
        )
        work.commit()


def kinds(store: memory.Store, clock: Clock) -> list[str]:
    with memory.begin(store, clock) as work:
        return [event.kind for event in work.outbox.history(limit=1000)]


def numbers(found: tuple[Version, ...]) -> list[str]:
    return [str(version.number) for version in found]


# Models


def test_a_model_is_found_without_regard_to_case(registry: RegistryService) -> None:
    assert registry.model("BOT").name == "Bot"
    assert registry.model("bot").revision == 1
    with pytest.raises(NotFound):
        registry.model("bott")


@pytest.mark.parametrize("name", ["bot", "BOT", "helper"])
def test_a_name_is_taken_once(registry: RegistryService, name: str) -> None:
    registry.patch_model("bot", {"alternative_ids": ["helper"]}, actor=ADA)

    with pytest.raises(Conflict):
        registry.register_model(name, actor=ADA)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "-a", "a.", "con", "COM1.x", "ä", "x" * 129])
def test_a_name_that_cannot_be_used_everywhere_is_refused(
    registry: RegistryService, name: str
) -> None:
    with pytest.raises(Invalid):
        registry.register_model(name, actor=ADA)


def test_a_model_is_changed_by_merge_patch(
    registry: RegistryService, store: memory.Store, clock: Clock
) -> None:
    registry.patch_model("bot", {"tags": {"team": "a", "tier": "1"}}, actor=ADA)
    clock.now += 5

    changed = registry.patch_model(
        "bot", {"description": None, "tags": {"team": None, "new": ""}}, actor=ADA, if_match=2
    )

    assert changed == registry.model("bot")
    assert (changed.description, dict(changed.tags)) == ("", {"tier": "1", "new": ""})
    assert (changed.revision, changed.updated_at) == (3, clock.now)
    assert kinds(store, clock) == ["model.registered", "model.changed", "model.changed"]


def test_a_change_that_changes_nothing_is_none(registry: RegistryService) -> None:
    assert registry.patch_model("bot", {"description": "answers"}, actor=ADA).revision == 1


@pytest.mark.parametrize(
    ("changes", "pointer", "hint"),
    [
        ({"descripton": "x"}, "/descripton", "did you mean 'description'"),
        ({"name": "x"}, "/name", "unknown field"),
        ({"tags": []}, "/tags", "must be an object"),
        ({"archived": "yes"}, "/archived", "true or false"),
        ({"alternative_ids": ["a b"]}, "/alternative_ids/0", "cannot be a name"),
        ({"alternative_ids": False}, "/alternative_ids", "not a boolean"),
        ({"alternative_ids": ""}, "/alternative_ids", "not a string"),
        ({"description": 0}, "/description", "not a number"),
        ([], "", "must be an object"),
    ],
)
def test_a_wrong_change_is_refused(
    registry: RegistryService, changes: Json, pointer: str, hint: str
) -> None:
    with pytest.raises(Invalid, match=hint) as refused:
        registry.patch_model("bot", changes, actor=ADA)

    assert refused.value.faults[0].pointer == pointer


def test_a_change_of_another_revision_is_refused(registry: RegistryService) -> None:
    with pytest.raises(PreconditionFailed, match="the revision is 1, not 7"):
        registry.patch_model("bot", {"description": "x"}, actor=ADA, if_match=7)


def test_a_model_that_is_served_is_not_archived(
    registry: RegistryService, store: memory.Store, clock: Clock
) -> None:
    register(registry, "1.0.0")
    serve(store, clock, "1.0.0")

    with pytest.raises(Conflict, match="served in production"):
        registry.archive_model("bot", actor=ADA)

    assert not registry.model("bot").archived


def test_an_archived_model_takes_no_versions_and_is_not_listed(registry: RegistryService) -> None:
    assert registry.archive_model("bot", actor=ADA).archived

    with pytest.raises(Conflict, match="archived"):
        register(registry, "1.0.0")
    assert registry.models(ModelQuery()).items == ()
    assert len(registry.models(ModelQuery(archived=None)).items) == 1
    assert not registry.patch_model("bot", {"archived": False}, actor=ADA).archived


def test_models_are_listed_by_page_and_found_by_words_and_tags(registry: RegistryService) -> None:
    for name in ("alpha", "Beta", "gamma"):
        registry.register_model(name, actor=ADA, description=f"the {name}", tags={"t": name})

    first = registry.models(ModelQuery(limit=3))
    second = registry.models(ModelQuery(limit=3, after=first.next))

    assert [m.name for m in first.items + second.items] == ["alpha", "Beta", "Bot", "gamma"]
    assert second.next is None
    assert [m.name for m in registry.models(ModelQuery(q="THE be")).items] == ["Beta"]
    by_tag = registry.models(ModelQuery(tag=tag_filter("t:gamma")))
    assert [m.name for m in by_tag.items] == ["gamma"]


# Versions


def test_a_version_is_registered_with_its_digests(
    registry: RegistryService, store: memory.Store, clock: Clock
) -> None:
    registered = register(
        registry, "1.0.0+build.7", description="first", tags={"a": "b"}, metadata={"git": "1f"}
    )
    version = registered.version

    assert registered.created
    assert version == registry.version("bot", "1.0.0")
    assert (version.model, str(version.number)) == ("Bot", "1.0.0+build.7")
    assert (version.id, version.revision, version.state) == (1, 1, State.ACTIVE)
    assert (version.created_at, version.created_by) == (clock.now, "ada (k1)")
    assert version.digest.startswith("sha256:")
    assert set(version.components) == {"target", "signature"}
    assert kinds(store, clock)[-1] == "version.registered"


def test_the_same_version_again_is_the_stored_one(registry: RegistryService) -> None:
    first = register(registry, "1.0.0", chat("m"), description="first").version

    again = register(registry, "1.0.0+other", chat("m"), description="second", tags={"x": "y"})

    assert not again.created
    assert again.version == first


def test_the_same_number_with_other_content_is_refused_and_says_what_differs(
    registry: RegistryService,
) -> None:
    register(registry, "1.0.0", chat("m"))

    with pytest.raises(Conflict, match=r"prompt, target.*take another number") as refused:
        register(registry, "1.0.0", chat("m", prompt={"system": "x"}))

    assert refused.value.stands_in_the_way == "Bot@1.0.0"


def test_a_version_needs_its_model(registry: RegistryService) -> None:
    release = registry.release({"version": "1.0.0", "target": chat()})

    with pytest.raises(NotFound):
        registry.register_version("nobody", release, actor=ADA)


@pytest.mark.parametrize(
    ("bump", "first", "then"),
    [("major", "1.0.0", "2.0.0"), ("minor", "0.1.0", "0.2.0"), ("patch", "0.0.1", "0.0.2")],
)
def test_a_bump_takes_the_next_number(
    registry: RegistryService, bump: str, first: str, then: str
) -> None:
    assert str(register(registry, bump, chat("a")).version.number) == first
    assert str(register(registry, bump, chat("b")).version.number) == then


def test_a_bump_never_makes_a_number_that_could_not_be_read_again(
    registry: RegistryService,
) -> None:
    register(registry, "9" * 251 + ".0.0", chat("a"))

    with pytest.raises(Invalid, match="at most 255 characters") as refused:
        register(registry, "major", chat("b"))

    assert refused.value.faults[0].pointer == "/bump"
    assert len(registry.versions(VersionQuery("bot")).items) == 1


def test_a_bump_of_the_same_content_makes_nothing_new(registry: RegistryService) -> None:
    register(registry, "1.4.0", chat("a"))

    again = register(registry, "auto", chat("a"))

    assert not again.created
    assert str(again.version.number) == "1.4.0"


@pytest.mark.parametrize(
    ("signature", "number"),
    [
        ({"input": {"type": "string"}}, "1.4.1"),
        ({"input": {"type": ["string", "null"]}}, "1.5.0"),
        ({"input": {"type": "integer"}}, "2.0.0"),
        ({"input": {"type": "string", "pattern": "x"}}, "2.0.0"),
    ],
)
def test_an_automatic_bump_follows_compatibility(
    registry: RegistryService, signature: Json, number: str
) -> None:
    register(registry, "1.4.0", chat("a"), signature={"input": {"type": "string"}})

    registered = register(registry, "auto", chat("b"), signature=signature)

    assert str(registered.version.number) == number


def test_who_registers_at_the_same_moment_gets_the_same_version(
    registry: RegistryService, store: memory.Store, clock: Clock
) -> None:
    faster = [partial(register, registry, "1.0.0", chat("m"))]

    class Slow:
        """A work that is overtaken just before it commits."""

        def __init__(self, work: memory.MemoryWork) -> None:
            self._work = work

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- whatever the work has
            return getattr(self._work, name)

        def commit(self) -> None:
            while faster:
                faster.pop()()
            self._work.commit()

    @contextmanager
    def slow() -> Iterator[Any]:
        with memory.begin(store, clock) as work:
            yield Slow(work)

    late = register(replace(registry, begin=slow), "1.0.0", chat("m"))

    assert not late.created
    assert late.version.id == registry.version("bot", "1.0.0").id
    assert numbers(registry.versions(VersionQuery("bot")).items) == ["1.0.0"]


# Local models


def test_the_runner_is_asked_for_a_signature_that_is_not_given(
    registry: RegistryService,
) -> None:
    described = Description((Tensor("x", "FP32", (-1, 64)),), (Tensor("y", "INT64", (-1,)),))
    asked: list[tuple[str, str]] = []

    def describe(artifact: str, runtime: str) -> Description:
        asked.append((artifact, runtime))
        return described

    version = register(replace(registry, describe=describe), "1.0.0", local()).version

    assert asked == [(ARTIFACT, "onnx")]
    assert version.signature.input["properties"] == {
        "x": {"type": "array", "datatype": "FP32", "shape": [-1, 64]}
    }
    assert version.components["artifact"] == ARTIFACT


def test_a_signature_that_says_nothing_of_tensors_is_taken_as_it_is(
    registry: RegistryService,
) -> None:
    described = Description((Tensor("x", "FP32", (-1, 64)),), (Tensor("y", "INT64", (-1,)),))
    service = replace(registry, describe=lambda *_: described)
    stated: Json = {"input": {"type": "object"}}

    version = register(service, "1.0.0", local(), signature=stated).version

    assert version.signature.input == {"type": "object"}


@pytest.mark.parametrize("signature", [None, {}, {"input": {"type": "object"}}])
def test_bytes_that_are_no_model_are_not_registered_whatever_is_said_of_them(
    registry: RegistryService, signature: Json
) -> None:
    def describe(artifact: str, runtime: str) -> Description:
        raise Unsupported(f"{artifact} is no model that {runtime} reads")

    with pytest.raises(Unsupported):
        register(replace(registry, describe=describe), "1.0.0", local(), signature=signature)
    assert registry.latest("bot") is None


def tensors(**members: Json) -> Json:
    named = {name: {"type": "array", **one} for name, one in members.items()}  # type: ignore[dict-item]
    return {"type": "object", "properties": named}


@pytest.mark.parametrize(
    ("signature", "pointer", "hint"),
    [
        ({"input": tensors(x={"datatype": "FP64"})}, "/input/properties/x/datatype", "FP32"),
        ({"input": tensors(x={"shape": [-1, 10]})}, "/input/properties/x/shape", r"\[-1, 64\]"),
        ({"input": tensors(x={"shape": [64]})}, "/input/properties/x/shape", r"\[-1, 64\]"),
        ({"input": tensors(xx={"datatype": "FP32"})}, "/input/properties/xx", "mean 'x'"),
        ({"output": tensors(y={"datatype": "INT32"})}, "/output/properties/y/datatype", "INT64"),
        ({"output": tensors(z={"shape": [1]})}, "/output/properties/z", "no output 'z'"),
    ],
)
def test_a_signature_that_contradicts_its_file_is_refused(
    registry: RegistryService, signature: Json, pointer: str, hint: str
) -> None:
    described = Description((Tensor("x", "FP32", (-1, 64)),), (Tensor("y", "INT64", (-1,)),))
    service = replace(registry, describe=lambda *_: described)

    with pytest.raises(Invalid, match=hint) as refused:
        register(service, "1.0.0", local(), signature=signature)

    assert refused.value.faults[0].pointer == f"/signature{pointer}"


def test_a_signature_promises_what_its_file_takes_and_no_less(registry: RegistryService) -> None:
    """Requests are held to what the file says: what is narrower would not be held to."""
    described = Description((Tensor("x", "FP32", (-1, 64)),), (Tensor("y", "INT64", (-1,)),))
    service = replace(registry, describe=lambda *_: described)
    narrow: Json = {"input": tensors(x={"datatype": "FP32", "shape": [1, 64]})}
    exact: Json = {"input": tensors(x={"datatype": "FP32", "shape": [-1, 64]})}

    with pytest.raises(Invalid, match=r"is \[-1, 64\] in the file"):
        register(service, "1.0.0", local(), signature=narrow)

    assert register(service, "1.0.0", local(), signature=exact).created


def test_nothing_is_registered_while_no_runner_can_tell(registry: RegistryService) -> None:
    def describe(artifact: str, runtime: str) -> Description:
        raise Unavailable(artifact + runtime)

    with pytest.raises(Unavailable):
        register(replace(registry, describe=describe), "1.0.0", local())
    assert registry.latest("bot") is None


def test_an_artifact_that_is_corrupt_must_be_uploaded_again(registry: RegistryService) -> None:
    with registry.begin() as work:
        work.artifacts.mark(ARTIFACT, 1)  # type: ignore[attr-defined]  # whole in the memory's work
        work.commit()
    with pytest.raises(Conflict, match=f"{ARTIFACT} are not those .* upload the right ones again"):
        register(registry, "1.0.0", local())


def test_an_artifact_must_be_uploaded_first(registry: RegistryService) -> None:
    target = {**local(), "artifact": "sha256:" + "00" * 32}

    with pytest.raises(Invalid, match="upload it") as refused:
        register(registry, "1.0.0", target)

    assert refused.value.faults[0].pointer == "/target/artifact"


# Finding


@pytest.fixture
def many(registry: RegistryService) -> RegistryService:
    for number in ("1.0.0", "1.2.0", "1.10.0", "2.0.0", "2.1.0-rc.1", "3.0.0"):
        register(registry, number)
    registry.patch_version("bot", "1.10.0", {"state": "deprecated"}, actor=ADA)
    registry.patch_version("bot", "3.0.0", {"state": "yanked", "reason": "wrong"}, actor=ADA)
    registry.put_alias("bot", "champion", "1.2.0", actor=ADA)
    return registry


@pytest.mark.parametrize(
    ("ref", "number"),
    [
        ("1.0.0", "1.0.0"),
        ("1.0.0+anything", "1.0.0"),
        ("3.0.0", "3.0.0"),
        ("latest", "2.0.0"),
        ("Latest", "2.0.0"),
        ("champion", "1.2.0"),
        ("CHAMPION", "1.2.0"),
        ("^1", "1.2.0"),
        (">=1.10 <2", "1.10.0"),
        ("1.x", "1.2.0"),
        ("*", "2.0.0"),
        (">=2.1.0-rc.0", "2.1.0-rc.1"),
        ("v1.0.0", "1.0.0"),
    ],
)
def test_a_reference_names_one_version(many: RegistryService, ref: str, number: str) -> None:
    assert str(many.version("bot", ref).number) == number


@pytest.mark.parametrize(
    ("ref", "hint"),
    [
        ("9.9.9", "9.9.9"),
        ("^3", r"no version of 'Bot' that is offered fits '\^3'; the highest is 3.0.0"),
        ("champoin", "did you mean 'champion'"),
        ("lates", "did you mean 'latest'"),
    ],
)
def test_a_reference_to_nothing_is_not_found(many: RegistryService, ref: str, hint: str) -> None:
    with pytest.raises(NotFound, match=hint):
        many.version("bot", ref)


@pytest.mark.parametrize("ref", ["1.2.3.4", "^a", "a b", "@", "../x"])
def test_what_can_name_nothing_is_refused(many: RegistryService, ref: str) -> None:
    with pytest.raises(Invalid):
        many.version("bot", ref)


def test_latest_is_a_pre_release_only_if_there_is_nothing_else(registry: RegistryService) -> None:
    assert registry.latest("bot") is None
    with pytest.raises(NotFound, match="no active version"):
        registry.version("bot", "latest")

    register(registry, "2.0.0-rc.1")
    assert str(registry.version("bot", "latest").number) == "2.0.0-rc.1"

    register(registry, "1.0.0")
    assert str(registry.version("bot", "latest").number) == "1.0.0"


def test_versions_are_listed_by_precedence_in_pages_that_new_ones_do_not_shift(
    many: RegistryService,
) -> None:
    first = many.versions(VersionQuery("BOT", limit=2))
    register(many, "9.0.0")
    rest = many.versions(VersionQuery("bot", limit=10, after=first.next))

    assert numbers(first.items) == ["3.0.0", "2.1.0-rc.1"]
    assert numbers(rest.items) == ["2.0.0", "1.10.0", "1.2.0", "1.0.0"]


def test_versions_are_filtered_by_range_and_state(many: RegistryService) -> None:
    allowed = VersionQuery("bot", requirement=Requirement.parse("^1"), order="precedence")

    assert numbers(many.versions(allowed).items) == ["1.0.0", "1.2.0", "1.10.0"]
    assert numbers(many.versions(VersionQuery("bot", state=State.YANKED)).items) == ["3.0.0"]


# Changing


def test_description_tags_and_state_may_change_and_nothing_else(
    registry: RegistryService, store: memory.Store, clock: Clock
) -> None:
    before = register(registry, "1.0.0").version
    register(registry, "2.0.0")

    after = registry.patch_version(
        "bot",
        "1.0.0",
        {
            "description": "old",
            "tags": {"a": "b"},
            "state": "deprecated",
            "sunset": "2027-01-15T09:00:00+01:00",
            "successor": "2.0.0",
        },
        actor=ADA,
        if_match=1,
    )

    assert after == registry.version("bot", "1.0.0")
    assert after == replace(
        before,
        description="old",
        tags={"a": "b"},
        state=State.DEPRECATED,
        sunset=1_800_000_000_000,
        successor=SemVer(2, 0, 0),
        revision=2,
        updated_at=clock.now,
    )
    assert kinds(store, clock)[-1] == "version.changed"


def test_who_is_active_again_has_no_sunset(registry: RegistryService) -> None:
    register(registry, "1.0.0")
    gone: Json = {"state": "retired", "sunset": "2027-01-15T09:00:00Z", "reason": "old"}
    registry.patch_version("bot", "1.0.0", gone, actor=ADA)

    again = registry.patch_version("bot", "1.0.0", {"state": "active"}, actor=ADA)

    assert (again.state, again.sunset, again.reason) == (State.ACTIVE, None, "")


@pytest.mark.parametrize(
    ("changes", "pointer", "hint"),
    [
        ({"target": {}}, "/target", "unknown field"),
        ({"state": "activ"}, "/state", "did you mean 'active'"),
        ({"state": "yanked"}, "/reason", "say why"),
        ({"sunset": "2027-01-15T09:00:00Z"}, "/sunset", "goes with the states"),
        ({"state": "deprecated", "sunset": "tomorrow"}, "/sunset", "is no time"),
        ({"state": "deprecated", "sunset": "2027-01-15T09:00:00"}, "/sunset", "is no time"),
        ({"state": "deprecated", "successor": "1.0.0"}, "/successor", "no other version"),
        ({"state": "deprecated", "successor": "7.0.0"}, "/successor", "no other version"),
        ({"state": "deprecated", "successor": "x"}, "/successor", "is no version"),
        ({"state": "deprecated", "sunset": "0001-01-01T00:00:00+23:59"}, "/sunset", "is no time"),
        ({"state": "deprecated", "sunset": "9999-12-31T23:59:59-00:01"}, "/sunset", "is no time"),
        ({"state": "deprecated", "sunset": "20270115T090000Z"}, "/sunset", "is no time"),
        ({"state": "deprecated", "sunset": "2027-W01-1T00:00:00Z"}, "/sunset", "is no time"),
        ({"description": False}, "/description", "not a boolean"),
        ({"description": 0}, "/description", "not a number"),
        ({"state": "deprecated", "reason": []}, "/reason", "not an array"),
    ],
)
def test_a_wrong_change_of_a_version_is_refused(
    registry: RegistryService, changes: Json, pointer: str, hint: str
) -> None:
    register(registry, "1.0.0")

    with pytest.raises(Invalid, match=hint) as refused:
        registry.patch_version("bot", "1.0.0", changes, actor=ADA)

    assert refused.value.faults[0].pointer == pointer


@pytest.mark.parametrize("state", ["retired", "yanked"])
def test_a_version_that_is_served_stays(
    registry: RegistryService, store: memory.Store, clock: Clock, state: str
) -> None:
    register(registry, "1.0.0")
    register(registry, "2.0.0")
    serve(store, clock, "1.0.0")
    change: Json = {"state": state, "reason": "x"}

    with pytest.raises(Conflict, match=r"Bot@1\.0\.0 is served in production"):
        registry.patch_version("bot", "1.0.0", change, actor=ADA)

    serve(store, clock, "2.0.0", revision=2)
    assert registry.patch_version("bot", "1.0.0", change, actor=ADA).state.value == state


@pytest.mark.parametrize("state", ["active", "deprecated", None])
def test_what_was_yanked_stays_yanked(many: RegistryService, state: str | None) -> None:
    with pytest.raises(Refused, match="under another number"):
        many.patch_version("bot", "3.0.0", {"state": state, "reason": "back"}, actor=ADA)


def test_two_versions_are_compared(registry: RegistryService) -> None:
    register(registry, "1.0.0", chat("a", prompt={"system": "Be kind.\nBe short."}))
    register(registry, "1.1.0", chat("b", prompt={"system": "Be kind.\nBe long."}))

    found = registry.compare("bot", "1.0.0", "latest")

    assert (found.order, found.bump) == (-1, "patch")
    assert found.components == ("prompt", "target")
    assert [(c.pointer, c.before, c.after) for c in found.target[:1]] == [("/model", "a", "b")]
    assert found.prompt[-2:] == ("-Be short.", "+Be long.")
    assert registry.compare("bot", "1.1.0", "1.0.0").order == 1
    assert registry.compare("bot", "1.0.0", "1.0.0").order == 0


# Aliases


def test_an_alias_moves_and_remembers(registry: RegistryService, clock: Clock) -> None:
    register(registry, "1.0.0")
    register(registry, "2.0.0")
    start = clock.now
    registry.put_alias("bot", "Champion", "1.0.0", actor=ADA, why="first")
    clock.now += 10
    moved = registry.put_alias("bot", "champion", "^2", actor=ADA, if_match=1)
    clock.now += 10
    registry.remove_alias("bot", "champion", actor=ADA, if_match=2)

    assert (moved.name, str(moved.version), moved.revision) == ("Champion", "2.0.0", 2)
    history = registry.alias_history("bot", "champion")
    assert [(str(c.version), c.at - start, c.why) for c in history] == [
        ("None", 20, ""),
        ("2.0.0", 10, ""),
        ("1.0.0", 0, "first"),
    ]
    assert str(registry.alias_at("bot", "champion", start + 9).version) == "1.0.0"
    assert str(registry.alias_at("bot", "champion", start + 10).version) == "2.0.0"
    for time in (start - 1, start + 20):
        with pytest.raises(NotFound):
            registry.alias_at("bot", "champion", time)
    assert registry.aliases("bot") == []
    with pytest.raises(NotFound):
        registry.version("bot", "champion")


def test_a_new_alias_of_an_old_name_goes_on_counting(many: RegistryService) -> None:
    many.remove_alias("bot", "champion", actor=ADA, if_match=1)

    assert many.put_alias("bot", "champion", "1.0.0", actor=ADA).revision == 3


def test_who_moves_an_alias_says_from_where(many: RegistryService) -> None:
    with pytest.raises(PreconditionRequired, match="has the revision 1"):
        many.put_alias("bot", "champion", "2.0.0", actor=ADA)
    with pytest.raises(PreconditionFailed):
        many.put_alias("bot", "champion", "2.0.0", actor=ADA, if_match=2)
    with pytest.raises(PreconditionFailed):
        many.put_alias("bot", "other", "2.0.0", actor=ADA, if_match=1)
    with pytest.raises(PreconditionRequired):
        many.remove_alias("bot", "champion", actor=ADA, if_match=None)

    assert str(many.alias("bot", "champion").version) == "1.2.0"


def test_the_same_alias_again_changes_nothing(many: RegistryService) -> None:
    assert many.put_alias("bot", "champion", "1.2.0", actor=ADA).revision == 1


def test_an_alias_never_points_to_what_nobody_should_use(many: RegistryService) -> None:
    with pytest.raises(Conflict, match="is yanked"):
        many.put_alias("bot", "next", "3.0.0", actor=ADA)


@pytest.mark.parametrize("name", ["latest", "LATEST", "1", "v2", "1.x", "x", "2024", "a b", "^1"])
def test_an_alias_never_reads_as_a_version(many: RegistryService, name: str) -> None:
    with pytest.raises(Invalid):
        many.put_alias("bot", name, "1.0.0", actor=ADA)
