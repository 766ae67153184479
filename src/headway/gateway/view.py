"""The view: everything that a gateway must know to answer, compiled and never changed.

It is made off the loop's thread from one document (see `ports`), swapped as a whole, and kept in a
file, so that a gateway that starts while the database is gone serves the last one at once.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from hmac import compare_digest
from pathlib import Path
from typing import Any, Final

from headway.auth.limits import Limits
from headway.auth.policy import ANY, Caller
from headway.auth.role import Role
from headway.gateway.dialects import DIALECTS, FORMATS
from headway.gateway.exchange import Prepared, Release, prefixes, unusable
from headway.gateway.speech import speakers
from headway.kernel.canonical import Json
from headway.kernel.clock import MINUTE
from headway.kernel.errors import HeadwayError, Invalid
from headway.kernel.names import folded
from headway.registry.requirement import Requirement
from headway.registry.target import target_from_document
from headway.registry.version import SemVer
from headway.routing.assignment import OUTSIDE, checked, flat_arms, outside
from headway.routing.route import Arm, Route, read_route
from headway.routing.table import Table, compile_route
from headway.tracking.price import timeline_from
from headway.tracking.stamp import Prefix, Stamper
from headway.wire.framing import FieldLines, write_fields

Prepare = Callable[[Release], Prepared]
LATEST: Final = "latest"
_OFFERED: Final = frozenset({"active", "deprecated"})
_PIN_MAC: Final = 12


@dataclass(frozen=True, slots=True)
class KeyEntry:
    caller: Caller
    expires_at: int | None

    def works_at(self, now: int) -> bool:
        return self.expires_at is None or now < self.expires_at


class Destination:
    """One arm of one route revision, with all that a request to it needs, made once."""

    __slots__ = (
        "_lines", "_minute", "_pin", "_revision", "arm", "index", "prefix", "prepared", "release",
    )  # fmt: skip

    def __init__(
        self,
        *,
        arm: Arm,
        index: int,
        release: Release,
        prepared: Prepared,
        prefix: Prefix,
        revision: int,
        pin: Callable[[int], str],
    ) -> None:
        """`pin` writes the pin of who is answered in a minute (since 1970)."""
        self.arm = arm
        self.index = index
        self.release = release
        self.prepared = prepared
        self.prefix = prefix
        self._pin = pin
        self._revision = revision
        self._minute = -1
        self._lines = FieldLines(b"")

    def lines(self, minute: int) -> FieldLines:
        """Return the fields of every answer from here that is given in this minute."""
        if minute != self._minute:
            self._lines = self.lines_with(self._pin(minute))
            self._minute = minute
        return self._lines

    def lines_with(self, pin: str) -> FieldLines:
        """Return the fields of an answer to one who holds this pin: it grows no longer by use."""
        return write_fields(
            [
                (b"headway-version", self.release.version.encode("ascii")),
                (b"headway-route-revision", str(self._revision).encode("ascii")),
                (b"headway-pin", pin.encode("ascii")),
            ]
        )


class Served:
    """A model in an environment: its route, ready to assign, and where its arms lead."""

    __slots__ = ("arms", "rolled_back", "route", "table")

    def __init__(
        self,
        table: Table,
        arms: tuple[Destination, ...],
        rolled_back: Mapping[str, int] | None = None,
    ) -> None:
        self.table = table
        self.route: Route = table.route
        self.arms = arms
        """By `Assignment.arm_index`."""
        self.rolled_back = rolled_back or {}
        """By version: the revision with which a rollback took it off. No pin outlives that."""


@dataclass(frozen=True, slots=True)
class View:
    """Immutable; `compile_view` makes it."""

    generation: int
    at: int
    """When the document was read, milliseconds UTC."""
    keys: Mapping[str, KeyEntry]
    """By the keyed digest of the key, 64 hex digits."""
    routes: Mapping[tuple[str, str], Served]
    """By (environment, model), both in lower case."""
    releases: Mapping[str, Mapping[str, tuple[Release, Prepared]]]
    """By model in lower case, then by precedence key of the number."""
    aliases: Mapping[str, Mapping[str, str]]
    """By model in lower case, then by alias in lower case: the version's text."""
    names: Mapping[str, str] = field(default_factory=dict)
    """By alternative id in lower case: the model's name in lower case."""
    passed: frozenset[str] = frozenset()
    """Paths below /v1 that some version passes through."""
    problems: tuple[str, ...] = ()
    """What could not be compiled, and why; the rest of the view works."""

    def served(self, environment: str, model: str) -> Served | None:
        return self.routes.get((folded(environment), self._own_name(model)))

    def _own_name(self, model: str) -> str:
        """Return what a model is really called, in lower case."""
        name = folded(model)
        return self.names.get(name, name)

    def passes(self, path: str) -> bool:
        """Say whether any version passes a path below /v1 through."""
        return bool(self.passed) and any(each in self.passed for each in prefixes(path))

    def models(self, environment: str) -> Iterable[Served]:
        """Return what is served in an environment, by name."""
        wanted = folded(environment)
        return [self.routes[key] for key in sorted(self.routes) if key[0] == wanted]

    def release(self, model: str, ref: str) -> tuple[Release, Prepared] | None:
        """Return the version that a version's number, `latest`, an alias or a range names.

        In this order: no alias takes the place of a number, whatever is stored.
        """
        if not ref.strip():
            return None  # an empty range would be any version
        name = self._own_name(model)
        releases = self.releases.get(name, {})
        with contextlib.suppress(Invalid):
            return releases.get(SemVer.parse(ref).precedence_key())
        offered = {
            SemVer.parse(found[0].version): found
            for found in releases.values()
            if found[0].state in _OFFERED
        }
        if folded(ref) == LATEST:
            active = [n for n, found in offered.items() if found[0].state == "active"]
            number = max((n for n in active if n.is_release), default=max(active, default=None))
            return offered[number] if number is not None else None
        if (alias := self.aliases.get(name, {}).get(folded(ref))) is not None:
            return releases.get(SemVer.parse(alias).precedence_key())
        try:
            number = Requirement.parse(ref).best(offered)
        except Invalid:
            return None
        return offered[number] if number is not None else None


def empty_view() -> View:
    """Return the view of a gateway that has never read anything: generation -1."""
    return View(-1, 0, {}, {}, {}, {})


@dataclass(frozen=True, slots=True)
class Compiler:
    """Turns documents into views. One per process; called from the background thread."""

    prepare: Prepare
    pin_key: bytes
    """A secret of the installation: `Headway-Pin` is signed with it."""

    def compile(self, document: Mapping[str, Any]) -> View:
        """Return the view of a document.

        What is wrong in one version or route stays there: it is told in `problems`, and everything
        else works. Raises `KeyError`, `TypeError` or `ValueError` for what is no such document.
        """
        problems: list[str] = []
        releases = self._releases(document["versions"], problems)
        routes: dict[tuple[str, str], Served] = {}
        for entry in document["routes"]:
            name = f"{entry['model']}/{entry['environment']}"
            try:
                served = self._served(entry, releases)
            except (HeadwayError, ValueError, TypeError, KeyError) as error:
                problems.append(f"route {name}: {type(error).__name__}: {error}")
                continue
            routes[entry["environment"].lower(), entry["model"].lower()] = served
        aliases: dict[str, dict[str, str]] = {}
        for alias in document["aliases"]:
            if alias["version"] is not None:
                of_model = aliases.setdefault(alias["model"].lower(), {})
                of_model[alias["alias"].lower()] = alias["version"]
        return View(
            generation=int(document["generation"]),
            at=int(document["at"]),
            keys={key["digest"]: _key(key) for key in document["keys"]},
            routes=routes,
            releases=releases,
            aliases=aliases,
            # A view file of an earlier build has none.
            names={
                each["name"].lower(): each["model"].lower() for each in document.get("names", ())
            },
            passed=frozenset(
                path
                for of_model in releases.values()
                for _, prepared in of_model.values()
                if prepared.passed is not None
                for path in prepared.passed.paths
            ),
            problems=tuple(problems),
        )

    def _releases(
        self, entries: Iterable[Mapping[str, Any]], problems: list[str]
    ) -> dict[str, dict[str, tuple[Release, Prepared]]]:
        found: dict[str, dict[str, tuple[Release, Prepared]]] = {}
        for entry in entries:
            name = f"{entry['model']}@{entry['version']}"
            try:
                number = SemVer.parse(entry["version"])
                release = Release(
                    entry["model"],
                    entry["version"],
                    entry["digest"],
                    entry["state"],
                    target_from_document(entry["target"]),
                    # A view file of an earlier build has none.
                    timeline_from(entry.get("prices", ())),
                )
            except HeadwayError as error:
                problems.append(f"version {name}: {error}")
                continue
            try:
                prepared = self.prepare(release)
                prepared = replace(prepared, speakers=speakers(prepared, FORMATS, DIALECTS))
            except HeadwayError as error:
                problems.append(f"version {name}: {error}")
                prepared = unusable(str(error))
            found.setdefault(entry["model"].lower(), {})[number.precedence_key()] = (
                release,
                prepared,
            )
        return found

    def _served(
        self,
        entry: Mapping[str, Any],
        releases: Mapping[str, Mapping[str, tuple[Release, Prepared]]],
    ) -> Served:
        route = read_route(
            entry["declared"],
            model=entry["model"],
            environment=entry["environment"],
            epoch=entry.get("epoch"),
            guards=entry.get("guards") or (),
            revision=entry["revision"],
            revision_id=entry["id"],
            created_at=entry.get("created_at", 0),
        )
        known = releases.get(route.model.lower(), {})
        arms = []
        for index, arm in enumerate(flat_arms(route)):
            release, prepared = known.get(SemVer.parse(arm.version).precedence_key()) or (
                _missing(route.model, arm),
                unusable(f"{route.model}@{arm.version} is not known here"),
            )
            arms.append(self.destination(route, arm, index, release, prepared))
        # A view file of an earlier build has none.
        return Served(compile_route(route), tuple(arms), entry.get("rolled_back"))

    def destination(
        self, route: Route, arm: Arm, index: int, release: Release, prepared: Prepared
    ) -> Destination:
        return Destination(
            arm=arm,
            index=index,
            release=release,
            prepared=prepared,
            prefix=Stamper.prefix(route.id, index),
            revision=route.revision,
            pin=lambda minute: self.pin(route, release.version, minute),
        )

    def outside(self, served: Served, release: Release, prepared: Prepared) -> Destination:
        """Return where a request goes that was pinned to a version on no arm."""
        arm = outside(release.version, release.digest)
        return self.destination(served.route, arm, OUTSIDE, release, prepared)

    def checked(self, served: Served, release: Release, prepared: Prepared) -> Destination:
        """Return where control's check of a version goes."""
        arm = checked(release.version, release.digest)
        return self.destination(served.route, arm, OUTSIDE, release, prepared)

    def pin(self, route: Route, version: str, minute: int) -> str:
        """Return the `Headway-Pin` of a version: who echoes it stays there until it runs out.

        `minute`: in which it is given out, since 1970.
        """
        until = minute + max(1, route.pin_for // MINUTE)
        mac = self._mac(route, route.revision, until, version)
        return f"{route.revision}.{until}.{version}.{mac}"

    def pinned(self, view: View, served: Served, pin: str, minute: int) -> Destination | None:
        """Return where a pin leads; None if it is forged or over, or its version was taken back.

        It outlives a change of the route: a version that is on no arm any more answers on.
        """
        parts = pin.split(".", 2)
        if not pin.isascii() or len(parts) < 3:
            return None
        revision, until, rest = parts
        version, _, mac = rest.rpartition(".")
        if not (_is_number(revision) and _is_number(until)):
            return None
        if not compare_digest(self._mac(served.route, int(revision), int(until), version), mac):
            return None
        if minute >= int(until) or int(revision) < served.rolled_back.get(version, 0):
            return None
        arm = next((each for each in served.arms if each.release.version == version), None)
        if arm is not None:
            return arm
        found = view.release(served.route.model, version)
        if found is None or found[0].state not in _OFFERED:
            return None
        return self.outside(served, *found)

    def _mac(self, route: Route, revision: int, until: int, version: str) -> str:
        said = f"{route.model}\n{route.environment}\n{revision}\n{until}\n{version}".lower()
        return blake2b(
            said.encode(), key=self.pin_key, digest_size=_PIN_MAC, person=b"headway pin"
        ).hexdigest()


def _is_number(text: str) -> bool:
    return text.isdigit() and len(text) < 12


def _key(entry: Mapping[str, Any]) -> KeyEntry:
    return KeyEntry(
        Caller(
            entry["id"],
            entry["name"],
            Role(entry["role"]),
            tuple(entry["models"]),
            tuple(entry["environments"]),
            # A view file of an earlier build has neither paths nor limits.
            paths=ANY if (paths := tuple(entry.get("paths", ANY))) == ANY else paths,
            limits=limits if (limits := Limits.of(entry.get("limits"))).any else None,
        ),
        entry["expires_at"],
    )


def _missing(model: str, arm: Arm) -> Release:
    target = target_from_document(
        {"provider": "openai", "base_url": "https://missing.invalid", "model": "missing"}
    )
    return Release(model, arm.version, arm.digest, "missing", target)


class ViewFile:
    """The last document, in a file that only its owner reads.

    Written beside and renamed over, file and folder both synced: a crash at any point leaves the
    old one or the new one. A digest within tells a torn one from a whole one.
    """

    def __init__(self, path: Path) -> None:
        self.path: Final = path

    def save(self, document: Mapping[str, Json], *, number: int) -> None:
        """Keep a document and the number that this gateway has. Raises `OSError`."""
        text = json.dumps({"number": number, "document": document}, separators=(",", ":"))
        content = f"{_digest(text)}\n{text}".encode()
        folder = self.path.parent
        if not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync_folder(folder.parent)
        # Several gateways of one machine share the file: each writes beside it under its own name.
        fresh = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise
        _sync_folder(folder)

    def load(self) -> tuple[dict[str, Any], int] | None:
        """Return the document and the number beside it, None if there is no whole one."""
        try:
            digest, _, text = self.path.read_text("utf-8").partition("\n")
            if digest != _digest(text):
                return None
            kept = json.loads(text)
            return kept["document"], int(kept["number"])
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
