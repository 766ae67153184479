"""Every error that a caller may meet.

HeadwayError
├── Unauthenticated       nobody we know presented this key
├── Forbidden             we know who asks, and the key does not allow it
├── NotFound              nothing has that name, or the key may not see it
├── Conflict              somebody else was first, or something stands in the way; look again
│   └── Contended         another writer holds the store at this moment; try again
│       └── Undone        undone at once in favour of another writer: try again without waiting
├── PreconditionFailed    the caller named a revision, and it is not the present one
├── PreconditionRequired  a change here must name the revision that it was made from
├── Refused               understood, but the rules forbid it; retrying will not help
│   ├── Invalid           a value is wrong; says where (JSON Pointer), what was met and what fits
│   └── IllegalMove       a thing cannot go from this state to that one
├── TooLarge              more bytes than the limit
├── Unsupported           a media type, a runtime or a file format that we do not take
├── Busy                  too much at once; try again after `retry_after` seconds
└── Unavailable           a process or a provider that is needed does not answer
    └── StorageUnavailable   the database does not answer, or the disk takes nothing more
        └── OutcomeUnknown   no answer to a change: it may have been made, and may not

Errors speak of models and deployments. Status codes belong to `headway.web.errors` and to the
formats of the gateway.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class HeadwayError(Exception):
    """Base of everything that this package raises on purpose."""


class Unauthenticated(HeadwayError):
    """Nobody we know presented this key."""


class Forbidden(HeadwayError):
    """The key does not carry the permission."""


class NotFound(HeadwayError):
    """Nothing has that name."""


class Conflict(HeadwayError):
    """Somebody else wrote first, holds the lease, or stands in the way.

    `stands_in_the_way` is the id of what does, where there is one.
    """

    def __init__(self, message: str, *, stands_in_the_way: str | None = None) -> None:
        super().__init__(message)
        self.stands_in_the_way = stands_in_the_way


class Contended(Conflict):
    """Another writer was faster, or holds what is needed; a repeat may succeed."""

    retry_after = 1


class Undone(Contended):
    """The store undid it in favour of another writer: the same unit of work may be repeated."""


class PreconditionFailed(HeadwayError):
    """The revision named by the caller is not the present one."""


class PreconditionRequired(HeadwayError):
    """A change here must name the revision that it was made from."""


class Refused(HeadwayError):
    """The rules forbid it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One wrong value: where it stands (JSON Pointer, RFC 6901) and what is wrong with it."""

    pointer: str
    detail: str


class Invalid(Refused):
    """One or more values are wrong."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(f"{f.pointer or 'body'}: {f.detail}" for f in faults))
        self.faults = tuple(faults)

    @classmethod
    def at(cls, pointer: str, detail: str) -> "Invalid":
        return cls((Fault(pointer, detail),))


class IllegalMove(Refused):
    """A thing cannot go from this state to that one."""


class TooLarge(HeadwayError):
    """More bytes than the limit."""


class Unsupported(HeadwayError):
    """A media type, a runtime or a file format that is not taken."""


class Busy(HeadwayError):
    """Too much at once."""

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(HeadwayError):
    """Something that is needed does not answer."""

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StorageUnavailable(Unavailable):
    """The database does not answer, or the disk is full or broken."""


class OutcomeUnknown(StorageUnavailable):
    """No answer came to a change: it may have been made, and may not. Look before repeating."""
