"""What somebody asks to be registered, and the version that is made of it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from headway.kernel.canonical import Json, canonical, digest
from headway.kernel.errors import Fault, Invalid
from headway.kernel.names import check_name, nearest, unknown_word
from headway.registry.document import as_object, as_text, check_json, only, under
from headway.registry.model import Version
from headway.registry.schema import check_tools, signature_from_document
from headway.registry.signature import Signature
from headway.registry.target import LocalTarget, Target, components_of, target_from_document
from headway.registry.version import BUMPS, Bump, SemVer

Ask: TypeAlias = Literal["major", "minor", "patch", "auto"]
"""Which part of the highest number is to grow; `auto` asks compatibility."""

LARGEST_METADATA: Final = 256 * 1024
MOST_TAGS: Final = 64
LONGEST_TAG: Final = 1024
LONGEST_DESCRIPTION: Final = 4096

_FIELDS: Final = (
    "version",
    "bump",
    "description",
    "target",
    "signature",
    "tags",
    "metadata",
)


@dataclass(frozen=True, slots=True)
class Release:
    """A version that is asked for. Without a signature the runner is asked for one."""

    number: SemVer | Ask
    target: Target
    signature: Signature | None = None
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Json] = field(default_factory=dict)

    def version(
        self, *, model: str, number: SemVer, signature: Signature, at: int, by: str
    ) -> Version:
        """Make the version; the store gives it an id."""
        return Version(
            model=model,
            number=number,
            target=self.target,
            signature=signature,
            components=component_digests(self.target, signature),
            digest=version_digest(self.target, signature),
            created_at=at,
            created_by=by,
            metadata=self.metadata,
            description=self.description,
            tags=self.tags,
            updated_at=at,
        )


def version_digest(target: Target, signature: Signature) -> str:
    """Return the one digest over all that decides an answer: target and signature."""
    return digest({"target": target.document(), "signature": signature.document()})


def component_digests(target: Target, signature: Signature) -> dict[str, str]:
    """Return a digest for each part there is, so that two versions can be told apart by part."""
    found = {"target": digest(target.document()), "signature": digest(signature.document())}
    found |= {name: digest(part) for name, part in components_of(target).items()}
    if isinstance(target, LocalTarget):
        found["artifact"] = target.artifact
    return dict(sorted(found.items()))


def release_from_document(
    document: Json, *, pointer: str = "", runtimes: Collection[str] | None = None
) -> Release:
    """Read what a version is registered from, or raise `Invalid`.

    Exactly one of `version` (a number) and `bump` (major, minor, patch, auto) is needed.
    """
    fields = as_object(document, pointer=pointer)
    only(fields, _FIELDS, required=("target",), what="a version", pointer=pointer)
    at = under(pointer, "target")
    target = target_from_document(fields["target"], pointer=at, runtimes=runtimes)
    check_tools(target, pointer=under(at, "tools"))
    signature = fields.get("signature")
    return Release(
        number=_number(fields, pointer),
        target=target,
        signature=(
            signature_from_document(signature, pointer=under(pointer, "signature"))
            if signature is not None
            else None
        ),
        description=description_from(
            fields.get("description", ""), pointer=under(pointer, "description")
        ),
        tags=tags_from_document(fields.get("tags", {}), pointer=under(pointer, "tags")),
        metadata=_metadata(fields.get("metadata", {}), under(pointer, "metadata")),
    )


def description_from(value: Json, *, pointer: str = "") -> str:
    return as_text(value, pointer=pointer, longest=LONGEST_DESCRIPTION, empty=True)


def tags_from_document(document: Json, *, pointer: str = "") -> dict[str, str]:
    """Read tags: at most 64, keys are names and unique without regard to case."""
    fields = as_object(document, pointer=pointer)
    if len(fields) > MOST_TAGS:
        raise Invalid.at(pointer, f"has {len(fields)} tags; at most {MOST_TAGS} are taken")
    found: dict[str, str] = {}
    seen: set[str] = set()
    for key, value in fields.items():
        at = under(pointer, key)
        check_name(key, what="tag", pointer=at)
        if key.lower() in seen:
            raise Invalid.at(at, f"there are two tags {key!r}: case makes no difference")
        seen.add(key.lower())
        text = as_text(value, pointer=at, longest=LONGEST_TAG, empty=True)
        if len(text.encode()) > LONGEST_TAG:
            raise Invalid.at(at, f"has more than {LONGEST_TAG} bytes")
        found[key] = text
    return found


def tag_filter(text: str, *, pointer: str = "/tag") -> tuple[str, str | None]:
    """Read the filter `key` or `key:value`."""
    key, colon, value = text.partition(":")
    return check_name(key, what="tag", pointer=pointer), value if colon else None


def _number(fields: Mapping[str, Json], pointer: str) -> SemVer | Ask:
    number, bump = fields.get("version"), fields.get("bump")
    if (number is None) == (bump is None):
        raise Invalid(
            [
                Fault(
                    under(pointer, "version"),
                    "a version needs either a number, as in "
                    '"version": "2.4.0", or "bump": "major", "minor", "patch" or "auto"',
                )
            ]
        )
    if number is not None:
        at = under(pointer, "version")
        return SemVer.parse(as_text(number, pointer=at), pointer=at)
    return ask(as_text(bump, pointer=under(pointer, "bump")), pointer=under(pointer, "bump"))


def ask(word: str, *, pointer: str = "/bump") -> Ask:
    """Read which part of the number is to grow."""
    if word == "auto":
        return "auto"
    found: Bump | None = next((bump for bump in BUMPS if bump == word), None)
    if found is None:
        raise Invalid.at(pointer, unknown_word(word, (*BUMPS, "auto"), what="bump"))
    return found


def _metadata(document: Json, pointer: str) -> Mapping[str, Json]:
    fields = as_object(document, pointer=pointer)
    check_json(fields, pointer=pointer)
    if (size := len(canonical(fields).encode())) > LARGEST_METADATA:
        raise Invalid.at(pointer, f"has {size:,} bytes; at most {LARGEST_METADATA:,} are taken")
    return fields


def did_you_mean(word: str, known: Collection[str]) -> str:
    """Return a hint at the known word that is nearest, or nothing."""
    guess = nearest(word, known)
    return f"; did you mean {guess!r}?" if guess else ""
