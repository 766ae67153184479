"""Every format that callers may speak, and which of them can hold a chat."""

from collections.abc import Mapping
from typing import Final

from headway.gateway.exchange import Dialect, Format
from headway.gateway.formats.anthropic_messages import AnthropicCounting, AnthropicMessages
from headway.gateway.formats.open_inference import OpenInference
from headway.gateway.formats.openai_chat import OpenAIChat
from headway.gateway.formats.openai_embeddings import OpenAIEmbeddings
from headway.gateway.formats.openai_responses import OpenAIResponses

OPENAI_CHAT: Final = OpenAIChat()
OPENAI_RESPONSES: Final = OpenAIResponses()
OPENAI_EMBEDDINGS: Final = OpenAIEmbeddings()
OPEN_INFERENCE: Final = OpenInference()

ANTHROPIC_MESSAGES: Final = AnthropicMessages()
ANTHROPIC_COUNTING: Final = AnthropicCounting()

FORMATS: Final[tuple[Format, ...]] = (OPEN_INFERENCE, OPENAI_EMBEDDINGS, ANTHROPIC_COUNTING)
DIALECTS: Final[tuple[Dialect, ...]] = (OPENAI_CHAT, OPENAI_RESPONSES, ANTHROPIC_MESSAGES)
"""Callers of these are translated for a provider that speaks another."""

PATHS: Final[Mapping[str, Format]] = {
    "/v1/chat/completions": OPENAI_CHAT,
    "/v1/responses": OPENAI_RESPONSES,
    "/v1/embeddings": OPENAI_EMBEDDINGS,
    "/v1/messages": ANTHROPIC_MESSAGES,
    "/v1/messages/count_tokens": ANTHROPIC_COUNTING,
}
"""What is asked by POST, by its path; Open Inference names the model in the path."""


def path_of(format_: str, model: str) -> str:
    """Return where a model is asked in a format."""
    named = (path for path, each in PATHS.items() if each.name == format_)
    return next(named, f"/v2/models/{model}/infer")
