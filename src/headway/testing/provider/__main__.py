"""A scripted provider that stays up: `python -m headway.testing.provider`."""

import signal
import threading
from contextlib import suppress
from typing import Final

import click

from headway.testing.provider.server import ScriptedProvider

_PORT: Final = 11434
"""Where the examples look for a chat model: Ollama's."""


@click.command()
@click.option("--port", default=_PORT, show_default=True, help="On loopback; 0: any free one.")
def run(port: int) -> None:
    """Answer as OpenAI, Anthropic and the Open Inference Protocol do, until Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ScriptedProvider(port=port) as provider, suppress(KeyboardInterrupt):
            click.echo(f"A scripted provider answers at {provider.url} until you press Ctrl-C.")
            threading.Event().wait()
    except OSError as error:
        raise click.ClickException(f"port {port}: {error.strerror or error}") from error


if __name__ == "__main__":
    run(prog_name="python -m headway.testing.provider")
