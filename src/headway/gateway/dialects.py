"""Every format that callers may speak, and which of them can hold a chat."""

from typing import Final

from headway.gateway.exchange import Dialect, Format
from headway.gateway.formats.open_inference import OpenInference
from headway.gateway.formats.openai_chat import OpenAIChat

OPENAI_CHAT: Final = OpenAIChat()
OPEN_INFERENCE: Final = OpenInference()

FORMATS: Final[tuple[Format, ...]] = (OPENAI_CHAT, OPEN_INFERENCE)
DIALECTS: Final[tuple[Dialect, ...]] = ()
"""Callers of these are translated for a provider that speaks another."""
