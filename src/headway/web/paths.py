"""What a part of a path may be. Anything else is 404: nothing can have that name."""

from typing import Final

from flask import Flask
from werkzeug.routing import BaseConverter, ValidationError


class NameConverter(BaseConverter):
    """A model, an environment, an alias."""

    regex = r"[A-Za-z0-9]([A-Za-z0-9._\-]{0,126}[A-Za-z0-9])?"


class RefConverter(BaseConverter):
    """A version, an alias, `latest`, or a range."""

    regex = r"[A-Za-z0-9 .^~<>=|*+_\-]{1,255}"


class DigestConverter(BaseConverter):
    """The digest of an artifact."""

    regex = r"sha256:[0-9a-f]{64}"


class DeploymentConverter(BaseConverter):
    regex = r"dep_[0-9a-zA-Z]{1,64}"


class SnapshotConverter(BaseConverter):
    regex = r"snap_[0-9a-zA-Z]{1,64}"


class RollbackConverter(BaseConverter):
    regex = r"rb_[0-9a-zA-Z]{1,64}"


class KeyConverter(BaseConverter):
    """The public part of a key."""

    regex = r"[0-9A-Za-z]{8}"


class RequestConverter(BaseConverter):
    """A request id as the gateway gave it."""

    regex = r"req_[A-Za-z0-9_\-]{1,128}"


class NumberConverter(BaseConverter):
    """The number of a revision."""

    regex = r"[0-9]{1,9}"

    def to_python(self, value: str) -> int:
        if not value.isascii():
            raise ValidationError
        return int(value)


CONVERTERS: Final[dict[str, type[BaseConverter]]] = {
    "name": NameConverter,
    "ref": RefConverter,
    "digest": DigestConverter,
    "deployment": DeploymentConverter,
    "snapshot": SnapshotConverter,
    "rollback": RollbackConverter,
    "key": KeyConverter,
    "request": RequestConverter,
    "number": NumberConverter,
}


def init_app(app: Flask) -> None:
    """Teach an application the words; call it before any blueprint is registered."""
    app.url_map.converters.update(CONVERTERS)
