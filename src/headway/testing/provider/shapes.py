"""In whose words a path is answered."""

import re
from typing import Any, Final, Protocol

from headway.testing.provider.chat import ChatCompletions, Embeddings, openai_error
from headway.testing.provider.inference import Inference
from headway.testing.provider.messages import CountTokens, Messages
from headway.testing.provider.reply import Received, Reply, Said, sse
from headway.testing.provider.responses import Responses


class Shape(Protocol):
    """How one API reads and writes."""

    def wrong(self, request: Received) -> str:
        """Return why nothing can be said to this request; an empty text if something can."""

    def whole(self, request: Received, reply: Reply) -> dict[str, Any]:
        """Return an answer in one piece."""

    def stream(self, request: Received, reply: Reply) -> list[Said] | None:
        """Return the events of a whole stream; None: this API has none."""

    def error(self, reply: Reply) -> dict[str, Any]:
        """Return the body of an error."""

    def error_event(self, reply: Reply) -> bytes:
        """Return the event that says so in a stream that has begun."""


class Models:
    """`GET …/models[/{id}]`: Anthropic's list for who sends its version, else OpenAI's."""

    def wrong(self, request: Received) -> str:  # noqa: ARG002 - the protocol's words
        return ""

    def whole(self, request: Received, reply: Reply) -> dict[str, Any]:
        write = _claude if "anthropic-version" in request.headers else _gpt
        path = request.path.partition("?")[0].rstrip("/")
        if not path.endswith("/models"):
            return write(path.rpartition("/")[2])
        found = [write(name) for name in reply.models]
        if "anthropic-version" in request.headers:
            ends = {"first_id": reply.models[0], "last_id": reply.models[-1]}
            return {"data": found, "has_more": False, **ends}
        return {"object": "list", "data": found}

    def stream(self, request: Received, reply: Reply) -> list[Said] | None:  # noqa: ARG002 - the protocol's words
        return None

    def error(self, reply: Reply) -> dict[str, Any]:
        return openai_error(reply)

    def error_event(self, reply: Reply) -> bytes:
        return sse(openai_error(reply))


def _gpt(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "scripted"}


def _claude(name: str) -> dict[str, Any]:
    created = "2023-11-14T22:13:20Z"
    return {"type": "model", "id": name, "display_name": name, "created_at": created}


_SHAPES: Final[tuple[tuple[str, Shape], ...]] = (
    (r"/chat/completions$", ChatCompletions()),
    (r"/responses$", Responses()),
    (r"/embeddings$", Embeddings()),
    (r"/messages$", Messages()),
    (r"/messages/count_tokens$", CountTokens()),
    (r"^/v2(/|$)|/v2/models/|/v2/health/|/v2$", Inference()),
    (r"/models(/[^/]+)?$", Models()),
)
UNKNOWN: Final[Shape] = ChatCompletions()
"""Writes the errors of paths that nobody answers."""


def shape_of(path: str) -> Shape | None:
    """Return how a path is answered; None: it is not."""
    path = path.partition("?")[0].rstrip("/")
    return next((shape for pattern, shape in _SHAPES if re.search(pattern, path)), None)
