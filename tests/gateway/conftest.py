"""A gateway and a scripted provider, both over real sockets."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from headway.adapters.outbound import Outbound, Secrets
from headway.adapters.providers.anthropic import Anthropic
from headway.adapters.providers.inference_v2 import InferenceV2
from headway.adapters.providers.local import Local
from headway.adapters.providers.openai import OpenAI
from headway.gateway.exchange import Prepared, Release
from headway.gateway.ports import Around, Provider
from headway.registry.target import LocalTarget
from headway.routing.route import Route
from headway.testing.gateway import RunningGateway, document, key_entry, route_of
from headway.testing.provider import ScriptedProvider

SECRETS = {
    "HEADWAY_SECRET_TEST": "sk-canary-test",
    "HEADWAY_SECRET_TEST_HOSTS": "127.0.0.1",
}


class Traffic:
    """A gateway whose versions call one scripted provider."""

    def __init__(
        self, gateway: RunningGateway, provider: ScriptedProvider, official: openai.OpenAI
    ) -> None:
        self.gateway = gateway
        self._official = official
        self.provider = provider
        self.targets: dict[tuple[str, str], Any] = {}

    def target(self, **more: object) -> dict[str, Any]:
        return {
            "provider": "openai",
            "base_url": self.provider.url,
            "model": "gpt-upstream",
            "credential": "test",
            "retries": 0,
            "timeouts": {"first": "1s", "idle": "1s", "total": "5s"},
            **more,
        }

    def serve(
        self,
        *routes: Route,
        versions: dict[tuple[str, str], Any] | None = None,
        keys: list[Any] | None = None,
        **more: Any,  # noqa: ANN401 - passed on
    ) -> None:
        """Adopt routes; without any, one for `bot` with its version 1.0.0."""
        gateway = self.gateway
        gateway.adopt(
            document(
                keys=[key_entry(gateway.key, gateway.digest), *(keys or [])],
                versions=versions or {("bot", "1.0.0"): self.target()},
                routes=routes or [route_of("bot", [("stable", "1.0.0", 10_000)])],
                **more,
            )
        )

    def client(self, key: str | None = None) -> openai.OpenAI:
        return self._official.with_options(
            base_url=self.gateway.url + "/v1", api_key=key or self.gateway.key
        )


def prepare(runner: str = "") -> Any:  # noqa: ANN401 - a function
    made: list[Provider] = [Anthropic(), OpenAI(), InferenceV2(), Local()]
    providers = {provider.name: provider for provider in made}
    around = Around(Secrets(SECRETS).value, runner)

    def make(release: Release) -> Prepared:
        target = release.target
        kind = "local" if isinstance(target, LocalTarget) else target.provider
        return providers[kind].prepare(release, around)

    return make


@pytest.fixture(scope="session")
def official() -> Iterator[openai.OpenAI]:
    """The official client, once: what it sets up for TLS takes a tenth of a second."""
    with openai.OpenAI(
        base_url="http://127.0.0.1:1/v1", api_key="none", max_retries=0, timeout=10.0
    ) as client:
        yield client


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture
def traffic(provider: ScriptedProvider, official: openai.OpenAI) -> Iterator[Traffic]:
    outbound = Outbound(loopback_open=True)
    with RunningGateway(prepare=prepare(), connect=outbound.connect) as gateway:
        found = Traffic(gateway, provider, official)
        found.serve()
        yield found
        assert gateway.faults == []
