"""Every format that callers may speak, and which of them can hold a chat."""

from collections.abc import Mapping
from typing import Final

from headway.gateway.exchange import Dialect, Format
from headway.gateway.formats.anthropic_messages import AnthropicCounting, AnthropicMessages
from headway.gateway.formats.open_inference import OpenInference
from headway.gateway.formats.openai_chat import OpenAIChat
from headway.gateway.formats.openai_embeddings import OpenAIEmbeddings
from headway.gateway.formats.openai_responses import OpenAIResponses
from headway.registry import api

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
    api.PATHS["chat"]: OPENAI_CHAT,
    api.PATHS["responses"]: OPENAI_RESPONSES,
    api.PATHS["embeddings"]: OPENAI_EMBEDDINGS,
    api.PATHS["messages"]: ANTHROPIC_MESSAGES,
    f"{api.PATHS['messages']}/count_tokens": ANTHROPIC_COUNTING,
}
"""What is asked by POST, by its path; Open Inference names the model in the path."""


def path_of(format_: str, model: str) -> str:
    """Return where a model is asked in a format."""
    named = (path for path, each in PATHS.items() if each.name == format_)
    return next(named, api.PATHS["infer"].format(model=model))
