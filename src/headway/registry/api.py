"""The APIs in which callers ask a model, by the word that targets and checks have for each."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

PATHS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "chat": "/v1/chat/completions",
        "responses": "/v1/responses",
        "embeddings": "/v1/embeddings",
        "messages": "/v1/messages",
        "infer": "/v2/models/{model}/infer",
        "ready": "/v2/models/{model}/versions/{version}/ready",
    }
)
"""At a gateway; what stands in braces is filled in, escaped."""
