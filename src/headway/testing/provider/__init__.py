"""A provider over real HTTP that answers, fails and misbehaves by script.

    with ScriptedProvider() as provider:
        provider.script = lambda request: Reply(text="Hello", end=Ending.CUT)
        client = OpenAI(base_url=provider.url, api_key="any")

The path says in whose words it answers: OpenAI's chat completions, responses, embeddings and
models, Anthropic's messages, count_tokens and models, the Open Inference Protocol v2. `FAULTS`,
`SILENCES` and `BROKEN_STREAMS` hold all that a bad day brings, by name; `ODDITIES` what is unusual
and must be understood.
"""

from headway.testing.provider.faults import BROKEN_STREAMS, FAULTS, ODDITIES, SILENCES
from headway.testing.provider.reply import (
    Ending,
    Framing,
    Received,
    Reply,
    Script,
    ToolCall,
    pleasant,
)
from headway.testing.provider.server import ScriptedProvider

__all__ = [
    "BROKEN_STREAMS",
    "FAULTS",
    "ODDITIES",
    "SILENCES",
    "Ending",
    "Framing",
    "Received",
    "Reply",
    "Script",
    "ScriptedProvider",
    "ToolCall",
    "pleasant",
]
