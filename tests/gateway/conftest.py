"""A gateway and a scripted provider, both over real sockets."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from headway.adapters.outbound import Outbound, Secrets
from headway.adapters.providers.inference_v2 import InferenceV2
from headway.adapters.providers.openai import OpenAI
from headway.gateway.exchange import Prepared, Release
from headway.gateway.ports import Around
from headway.routing.route import Route
from headway.testing.gateway import RunningGateway, document, key_entry, route_of
from headway.testing.provider import ScriptedProvider

SECRETS = {
    "HEADWAY_SECRET_TEST": "sk-canary-test",
    "HEADWAY_SECRET_TEST_HOSTS": "127.0.0.1",
}


class Traffic:
    """A gateway whose versions call one scripted provider."""

    def __init__(self, gateway: RunningGateway, provider: ScriptedProvider) -> None:
        self.gateway = gateway
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

    def client(self, key: str | None = None, **more: Any) -> openai.OpenAI:  # noqa: ANN401
        return openai.OpenAI(
            base_url=self.gateway.url + "/v1",
            api_key=key or self.gateway.key,
            **{"max_retries": 0, "timeout": 10.0, **more},
        )


def prepare(runner: str = "") -> Any:  # noqa: ANN401 - a function
    providers = {"openai": OpenAI(), "inference_v2": InferenceV2()}
    around = Around(Secrets(SECRETS).value, runner)

    def make(release: Release) -> Prepared:
        kind = "openai" if release.artifact is None else "inference_v2"
        return providers[kind].prepare(release, around)

    return make


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture
def traffic(provider: ScriptedProvider) -> Iterator[Traffic]:
    outbound = Outbound(loopback_open=True)
    with RunningGateway(prepare=prepare(), connect=outbound.connect) as gateway:
        found = Traffic(gateway, provider)
        found.serve()
        yield found
        assert gateway.faults == []
