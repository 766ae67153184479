"""What people ask of the registry: register, find, change what may change, point aliases."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from headway.artifacts.artifact import corrupt_words
from headway.kernel.canonical import Json
from headway.kernel.clock import Clock
from headway.kernel.errors import (
    Conflict,
    Contended,
    Fault,
    Invalid,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
    Refused,
)
from headway.kernel.names import NAME_PATTERN, check_name, unknown_word
from headway.kernel.quantity import parse_time
from headway.kernel.repeats import repeated
from headway.outbox.actor import Actor
from headway.outbox.event import Event
from headway.registry.comparison import Comparison
from headway.registry.compatibility import Contract, compare
from headway.registry.document import as_array, as_object, as_text, only, under
from headway.registry.model import (
    LATEST,
    Alias,
    AliasChange,
    Model,
    State,
    Version,
    check_alias,
)
from headway.registry.ports import (
    Begin,
    CheckUrl,
    Describe,
    ModelQuery,
    Named,
    Page,
    VersionQuery,
    Work,
)
from headway.registry.release import (
    Release,
    description_from,
    did_you_mean,
    release_from_document,
    tags_from_document,
)
from headway.registry.requirement import Requirement
from headway.registry.signature import Description, Signature, Tensor, stated_tensors
from headway.registry.target import RUNTIMES, LocalTarget
from headway.registry.version import SemVer, reads_as_version

_TRIES: Final = 5
"""How often to look again when somebody else registers at the same moment."""
_MOST_ALTERNATIVES: Final = 16
_ALTERNATIVE: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._:/-]{0,126}[A-Za-z0-9])?\Z")
_ALIAS: Final = re.compile(NAME_PATTERN.replace("$", r"\Z"))


def allows_any_url(url: str, pointer: str) -> None:
    """Leave it to whoever connects."""


def describes_nothing(artifact: str, runtime: str) -> Description | None:
    """Be the runner where there is none."""
    del artifact, runtime
    return None


@dataclass(frozen=True, slots=True)
class Registered:
    """A version, and whether it is new: the same one may be registered twice."""

    version: Version
    created: bool


@dataclass(frozen=True, slots=True)
class RegistryService:
    """Models, versions and aliases.

    `if_match` is the revision that a change was made from: `PreconditionFailed` if it is not the
    present one. A dry run is the same service with a `begin` whose commit does nothing.
    """

    begin: Begin
    clock: Clock
    describe: Describe = describes_nothing
    runtimes: Collection[str] = RUNTIMES
    check_url: CheckUrl = allows_any_url

    # Models

    def register_model(
        self,
        name: str,
        *,
        actor: Actor,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        alternative_ids: Sequence[str] = (),
    ) -> Model:
        """Take a new name, or raise `Conflict`."""
        now = self.clock()
        model = Model(
            name=check_name(name, what="model", pointer="/name"),
            created_at=now,
            created_by=actor.name,
            description=description_from(description, pointer="/description"),
            tags=tags_from_document(tags or {}, pointer="/tags"),
            alternative_ids=_alternatives(alternative_ids, "/alternative_ids"),
            updated_at=now,
        )
        with self.begin() as work:
            stored = work.models.add(model)
            work.outbox.add(_event("model.registered", stored, actor, now))
            work.commit()
        return stored

    def model(self, name: str) -> Model:
        with self.begin() as work:
            return work.models.get(name)

    def models(self, query: ModelQuery) -> Page[Model]:
        with self.begin() as work:
            return work.models.page(query)

    def patch_model(
        self, name: str, changes: Json, *, actor: Actor, if_match: int | None = None
    ) -> Model:
        """Apply a JSON Merge Patch of description, tags, alternative_ids, archived."""
        fields = as_object(changes, pointer="")
        known = ("description", "tags", "alternative_ids", "archived")
        only(fields, known, what="a model that may change", pointer="")
        with self.begin() as work:
            model = work.models.get(name)
            _check_revision(model.revision, if_match)
            changed = replace(
                model,
                description=_description(fields, model.description),
                tags=_merged_tags(fields, model.tags),
                alternative_ids=(
                    _alternatives(fields["alternative_ids"], "/alternative_ids")
                    if "alternative_ids" in fields
                    else model.alternative_ids
                ),
                archived=_flag(fields.get("archived", model.archived), "/archived"),
            )
            if changed == model:
                return model
            if changed.archived and not model.archived:
                _refuse_while_served(work, model.name)
            now = self.clock()
            stored = work.models.save(replace(changed, updated_at=now))
            kind = "model.archived" if changed.archived > model.archived else "model.changed"
            work.outbox.add(_event(kind, stored, actor, now, detail={"fields": sorted(fields)}))
            work.commit()
        return stored

    def archive_model(self, name: str, *, actor: Actor, if_match: int | None = None) -> Model:
        """Put a model away: `Conflict` while a route serves it. Its name stays taken."""
        return self.patch_model(name, {"archived": True}, actor=actor, if_match=if_match)

    # Versions

    def release(self, document: Json) -> Release:
        """Read what a version is registered from, or raise `Invalid`."""
        return release_from_document(document, runtimes=self.runtimes)

    def register_version(self, model: str, release: Release, *, actor: Actor) -> Registered:
        """Register a release.

        The same number (build metadata ignored) with the same digest, and a bump of a version
        that has the same digest, return what is stored. The same number with another digest is a
        `Conflict`.
        """
        signature = self._signature(model, release)
        return repeated(
            partial(self._register, model, release, signature, actor),
            tries=_TRIES,
            unless=lambda error: not isinstance(error, _Raced),
        )

    def _signature(self, model: str, release: Release) -> Signature:
        """Ask the runner what a file is, before any transaction begins: no model is not taken.

        What a signature says of tensors must be true of the file: that is what is checked later.
        """
        target = release.target
        if not isinstance(target, LocalTarget):
            self.check_url(target.base_url, "/target/base_url")
            return release.signature or Signature()
        with self.begin() as work:
            work.models.get(model)
            artifact = work.artifacts.find(target.artifact)
        if artifact is None:
            raise Invalid.at(
                "/target/artifact", f"no artifact has the digest {target.artifact}: upload it"
            )
        if artifact.corrupt_at is not None:
            raise Conflict(corrupt_words(artifact.digest))
        described = self.describe(target.artifact, target.runtime)
        stated = release.signature
        if stated is None:
            return Signature() if described is None else Signature.of_tensors(described)
        if described is not None:
            faults = [
                *_contradictions(stated.input, described.inputs, "input"),
                *_contradictions(stated.output, described.outputs, "output"),
            ]
            if faults:
                raise Invalid(faults)
        return stated

    def _register(
        self, model: str, release: Release, signature: Signature, actor: Actor
    ) -> Registered:
        now = self.clock()
        with self.begin() as work:
            owner = work.models.get(model)
            number, same = _numbered(work, owner.name, release, signature)
            if same is not None:
                return Registered(same, created=False)
            if owner.archived:
                raise Conflict(f"the model {owner.name!r} is archived")
            _check_artifact(work, release)
            version = release.version(
                model=owner.name, number=number, signature=signature, at=now, by=actor.name
            )
            try:
                stored = work.versions.add(version)
                work.outbox.add(
                    _event(
                        "version.registered",
                        stored,
                        actor,
                        now,
                        why=release.description,
                        detail={"digest": stored.digest},
                    )
                )
                work.commit()
            except Contended:  # the store is held: whoever asked is told so, and may ask again
                raise
            except Conflict as error:
                raise _Raced(str(error)) from error
        return Registered(stored, created=True)

    def version(self, model: str, ref: str) -> Version:
        """Return the version that `ref` names: a number, an alias, `latest`, or a range.

        A range means the highest active version that it allows; a deprecated one if no active one
        fits, never one that is retired or yanked.
        """
        with self.begin() as work:
            return resolve(work, work.models.get(model).name, ref)

    def versions(self, query: VersionQuery) -> Page[Version]:
        with self.begin() as work:
            model = work.models.get(query.model)
            return work.versions.page(replace(query, model=model.name))

    def latest(self, model: str) -> Version | None:
        with self.begin() as work:
            return work.versions.latest(work.models.get(model).name)

    def patch_version(
        self, model: str, ref: str, changes: Json, *, actor: Actor, if_match: int | None = None
    ) -> Version:
        """Apply a JSON Merge Patch of description, tags, state, sunset, successor, reason.

        `Conflict` when a version that a route serves is to be retired or yanked.
        """
        fields = as_object(changes, pointer="")
        known = ("description", "tags", "state", "sunset", "successor", "reason")
        only(fields, known, what="a version that may change", pointer="")
        with self.begin() as work:
            version = resolve(work, work.models.get(model).name, ref)
            _check_revision(version.revision, if_match)
            changed = _patched(work, version, fields)
            if changed == version:
                return version
            if changed.state in _GONE and version.state not in _GONE:
                _refuse_while_served(work, version.model, version.number)
            now = self.clock()
            stored = work.versions.save(replace(changed, updated_at=now))
            work.outbox.add(
                _event(
                    "version.changed",
                    stored,
                    actor,
                    now,
                    why=stored.reason,
                    detail={"fields": sorted(fields), "state": stored.state.value},
                )
            )
            work.commit()
        return stored

    def compare(self, model: str, old: str, new: str) -> Comparison:
        """Set two versions of a model side by side."""
        with self.begin() as work:
            name = work.models.get(model).name
            return Comparison.of(resolve(work, name, old), resolve(work, name, new))

    # Aliases

    def aliases(self, model: str) -> Sequence[Alias]:
        with self.begin() as work:
            return work.aliases.of(work.models.get(model).name)

    def alias(self, model: str, name: str) -> Alias:
        with self.begin() as work:
            return _alias(work, work.models.get(model).name, name)

    def alias_history(self, model: str, name: str) -> Sequence[AliasChange]:
        """Return every change, newest first; `NotFound` if there never was such an alias."""
        with self.begin() as work:
            found = work.aliases.history(work.models.get(model).name, name)
        if not found:
            raise NotFound(f"no alias of {model!r} was ever called {name!r}")
        return found

    def alias_at(self, model: str, name: str, time: int) -> AliasChange:
        """Return the change that held at `time` (ms), or raise `NotFound` if none did."""
        with self.begin() as work:
            change = work.aliases.at(work.models.get(model).name, name, time)
        if change is None or change.version is None:
            raise NotFound(f"the alias {name!r} of {model!r} pointed to nothing at that time")
        return change

    def put_alias(
        self,
        model: str,
        name: str,
        ref: str,
        *,
        actor: Actor,
        if_match: int | None = None,
        why: str = "",
    ) -> Alias:
        """Point an alias to a version; a new one needs no `if_match`, an existing one does."""
        check_alias(name)
        with self.begin() as work:
            owner = work.models.get(model)
            version = resolve(work, owner.name, ref)
            present = work.aliases.find(owner.name, name)
            if present is not None and present.version is not None:
                if if_match is None and present.version == version.number:
                    return present
                _check_revision(present.revision, if_match, required=f"the alias {name!r}")
            elif if_match is not None:
                raise PreconditionFailed(f"there is no alias {name!r}")
            if version.state in _GONE:
                raise Conflict(f"{version.model}@{version.number} is {version.state.value}")
            now = self.clock()
            stored = work.aliases.save(
                Alias(
                    model=owner.name,
                    name=present.name if present else name,
                    version=version.number,
                    changed_at=now,
                    changed_by=actor.name,
                    why=why,
                    revision=present.revision if present else 0,
                )
            )
            work.outbox.add(_event("alias.moved", stored, actor, now, why=why))
            work.commit()
        return stored

    def remove_alias(
        self, model: str, name: str, *, actor: Actor, if_match: int | None, why: str = ""
    ) -> None:
        with self.begin() as work:
            present = _alias(work, work.models.get(model).name, name)
            _check_revision(present.revision, if_match, required=f"the alias {name!r}")
            now = self.clock()
            gone = replace(present, version=None, changed_at=now, changed_by=actor.name, why=why)
            work.outbox.add(_event("alias.removed", work.aliases.save(gone), actor, now, why=why))
            work.commit()


class _Raced(Conflict):
    """Somebody else registered at the same moment."""


_GONE: Final = frozenset([State.RETIRED, State.YANKED])


def resolve(work: Named, model: str, ref: str) -> Version:
    """Return the version of a model that `ref` names; see `RegistryService.version`."""
    if ref.lower() == LATEST:
        if (found := work.versions.latest(model)) is None:
            raise NotFound(f"the model {model!r} has no active version")
        return found
    if _ALIAS.match(ref) and not reads_as_version(ref):
        number = _alias(work, model, ref).version
        if number is None:
            raise NotFound(f"the alias {ref!r} of {model!r} points to nothing")
        return work.versions.get(model, number)
    try:
        return work.versions.get(model, SemVer.parse(ref))
    except Invalid:
        requirement = Requirement.parse(ref)
    for state in (State.ACTIVE, State.DEPRECATED):
        if (best := work.versions.best(model, requirement, state)) is not None:
            return best
    highest = work.versions.highest(model)
    there = f"the highest is {highest}" if highest else "it has none"
    raise NotFound(f"no version of {model!r} that is offered fits {ref!r}; {there}")


def _numbered(
    work: Work, model: str, release: Release, signature: Signature
) -> tuple[SemVer, Version | None]:
    """Return the number that a release gets, and the version that is the very same already."""
    wanted = release.number
    number = wanted if isinstance(wanted, SemVer) else work.versions.highest(model)
    present = number and work.versions.find(model, number)
    made = release.version(
        model=model, number=number or SemVer(0, 0, 0), signature=signature, at=0, by=""
    )
    if number and present and present.digest == made.digest:
        return number, present
    if isinstance(wanted, SemVer):
        if present:
            parts = ", ".join(_parts_that_differ(present, made))
            raise Conflict(
                f"{model}@{present.number} is registered with other content ({parts}): "
                "a version never changes, take another number",
                stands_in_the_way=f"{model}@{present.number}",
            )
        return wanted, None
    if not number or not present:
        return SemVer(1, 0, 0) if wanted == "auto" else SemVer(0, 0, 0).bump(wanted), None
    if wanted == "auto":
        wanted = compare(Contract.of(present), Contract.of(made)).advice(number)
    # Read as any other: a number that grew too long could never be read again.
    return SemVer.parse(str(number.bump(wanted)), pointer="/bump"), None


def _parts_that_differ(one: Version, other: Version) -> list[str]:
    names = one.components.keys() | other.components.keys()
    return sorted(n for n in names if one.components.get(n) != other.components.get(n))


def _contradictions(
    schema: Mapping[str, Json], tensors: Sequence[Tensor], what: str
) -> Iterator[Fault]:
    """Yield where a schema says of tensors what is not so in the file."""
    there = {tensor.name: tensor for tensor in tensors}
    for name, datatype, shape in stated_tensors(schema):
        at = under(f"/signature/{what}/properties", name)
        tensor = there.get(name)
        if tensor is None:
            yield Fault(at, f"the file has no {what} {name[:64]!r}{did_you_mean(name, there)}")
            continue
        if datatype not in {None, tensor.datatype}:
            yield Fault(under(at, "datatype"), f"is {tensor.datatype} in the file")
        # Not narrower either: what is held to before a model runs is what its file says.
        if shape is not None and tuple(shape) != tuple(tensor.shape):
            yield Fault(under(at, "shape"), f"is {list(tensor.shape)} in the file")


def _check_artifact(work: Work, release: Release) -> None:
    target = release.target
    if isinstance(target, LocalTarget) and work.artifacts.find(target.artifact) is None:
        raise Conflict(f"the artifact {target.artifact} was removed meanwhile: upload it again")


def _alias(work: Named, model: str, name: str) -> Alias:
    found = work.aliases.find(model, name)
    if found is None or found.version is None:
        known = [alias.name for alias in work.aliases.of(model)]
        raise NotFound(
            f"no version or alias of {model!r} is called {name!r}"
            f"{did_you_mean(name, [*known, LATEST])}"
        )
    return found


def _check_revision(present: int, if_match: int | None, *, required: str = "") -> None:
    if if_match is None:
        if required:
            raise PreconditionRequired(
                f"{required} has the revision {present}: say in If-Match which one you change"
            )
        return
    if if_match != present:
        raise PreconditionFailed(
            f"the revision is {present}, not {if_match}: somebody changed it; look again"
        )


def _refuse_while_served(work: Work, model: str, number: SemVer | None = None) -> None:
    if environments := work.routes.serving(model, number):
        what = f"{model}@{number}" if number else model
        raise Conflict(
            f"{what} is served in {', '.join(environments)}: route the traffic elsewhere first",
            stands_in_the_way=f"route:{model}/{environments[0]}",
        )


def _patched(work: Work, version: Version, fields: Mapping[str, Json]) -> Version:
    state = _state(fields.get("state"), version.state) if "state" in fields else version.state
    reason = _text(fields, "reason", version.reason)
    sunset = _time(fields["sunset"]) if "sunset" in fields else version.sunset
    successor = version.successor
    if "successor" in fields:
        successor = _successor(work, version, fields["successor"])
    if state is State.ACTIVE:
        faults = [
            Fault(under("", key), "goes with the states deprecated, retired and yanked")
            for key in ("sunset", "successor", "reason")
            if fields.get(key)
        ]
        if faults:
            raise Invalid(faults)
        sunset, successor, reason = None, None, ""
    if state is State.YANKED and not reason:
        raise Invalid.at("/reason", "say why nobody should use it any more")
    return replace(
        version,
        description=_description(fields, version.description),
        tags=_merged_tags(fields, version.tags),
        state=state,
        sunset=sunset,
        successor=successor,
        reason=reason,
    )


def _state(value: Json, present: State) -> State:
    word = State.ACTIVE if value is None else as_text(value, pointer="/state", longest=64)
    known = [state.value for state in State]
    if word not in known:
        raise Invalid.at("/state", unknown_word(word, known, what="state"))
    found = State(word)
    if present is State.YANKED and found is not State.YANKED:
        raise Refused("a version that was yanked stays so: register it anew under another number")
    return found


def _successor(work: Work, version: Version, value: Json) -> SemVer | None:
    if value is None:
        return None
    number = SemVer.parse(as_text(value, pointer="/successor"), pointer="/successor")
    found = work.versions.find(version.model, number)
    if found is None or found.number == version.number:
        raise Invalid.at("/successor", f"{version.model!r} has no other version {number}")
    return found.number


def _time(value: Json) -> int | None:
    if value is None:
        return None
    text = as_text(value, pointer="/sunset", longest=64)
    return parse_time(text, pointer="/sunset")


def _text(fields: Mapping[str, Json], key: str, present: str) -> str:
    if key not in fields:
        return present
    text = fields[key]
    return "" if text is None else description_from(text, pointer=under("", key))


def _description(fields: Mapping[str, Json], present: str) -> str:
    return _text(fields, "description", present)


def _merged_tags(fields: Mapping[str, Json], present: Mapping[str, str]) -> Mapping[str, str]:
    """Merge as RFC 7396 says: null removes a tag, and null for all of them removes all."""
    if "tags" not in fields:
        return present
    if fields["tags"] is None:
        return {}
    changes = as_object(fields["tags"], pointer="/tags")
    merged: dict[str, Json] = {k: v for k, v in present.items() if k not in changes}
    merged |= {k: v for k, v in changes.items() if v is not None}
    return tags_from_document(merged, pointer="/tags")


def _flag(value: Json, pointer: str) -> bool:
    if not isinstance(value, bool):
        raise Invalid.at(pointer, "must be true or false")
    return value


def _alternatives(value: Json, pointer: str) -> tuple[str, ...]:
    if value is None:
        return ()
    found: dict[str, str] = {}
    for i, item in enumerate(as_array(value, pointer=pointer, longest=_MOST_ALTERNATIVES)):
        at = under(pointer, i)
        name = as_text(item, pointer=at, longest=128)
        if not _ALTERNATIVE.match(name):
            raise Invalid.at(at, f"{name!r} cannot be a name: 1 to 128 of A-Z a-z 0-9 . _ : / -")
        found.setdefault(name.lower(), name)
    return tuple(found.values())


def _subject(thing: Model | Version | Alias) -> str:
    match thing:
        case Model():
            return f"model:{thing.name}"
        case Version():
            return f"version:{thing.model}@{thing.number}"
        case Alias():
            return f"alias:{thing.model}/{thing.name}"


def _detail(thing: Model | Version | Alias) -> dict[str, Json]:
    if isinstance(thing, Alias):
        return {"version": None if thing.version is None else str(thing.version)}
    return {}


def _event(
    kind: str,
    thing: Model | Version | Alias,
    actor: Actor,
    at: int,
    *,
    why: str = "",
    detail: Mapping[str, Json] | None = None,
) -> Event:
    return Event(
        kind=kind,
        subject=_subject(thing),
        at=at,
        actor=actor.name,
        actor_kind=actor.kind,
        why=why,
        detail={**_detail(thing), **(detail or {}), "revision": thing.revision},
        model=thing.name if isinstance(thing, Model) else thing.model,
    )
