"""What control asks of the runners, over their unix sockets: describe, load, pin."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2

from headway.kernel.errors import Refused, Unavailable, Unsupported
from headway.registry.signature import Description, Tensor

_LOAD: Final = httpx2.Timeout(130.0, connect=1.0)


@dataclass(frozen=True, slots=True)
class Runners:
    """All runners of this installation."""

    sockets: Sequence[Path]

    def describe(self, artifact: str, runtime: str) -> Description | None:
        """Return what a model takes and gives, as the first runner that answers reads it."""
        del runtime
        document = self._first("GET", f"/v2/models/{artifact}")
        return Description(
            inputs=tuple(_tensor(part) for part in document["inputs"]),
            outputs=tuple(_tensor(part) for part in document["outputs"]),
        )

    def load(self, artifact: str) -> Mapping[str, str]:
        """Load a model in every living runner; says of each how it went (`ok` or why not)."""
        told: dict[str, str] = {}
        for number, path in enumerate(self.sockets, start=1):
            try:
                answer = _call(path, "POST", f"/v2/repository/models/{artifact}/load")
            except Unavailable:
                continue
            told[f"runner {number}"] = "ok" if answer.status_code == 200 else _words(answer)
        if not told:
            raise Unavailable("no runner answers")
        return told

    def pin(self, artifacts: Sequence[str]) -> None:
        """Have every runner keep these, and no others, for good."""
        for path in self.sockets:
            with suppress(Unavailable):
                _call(path, "POST", "/v2/repository/pins", {"digests": list(artifacts)})

    def _first(self, method: str, path: str) -> Any:  # noqa: ANN401 - JSON
        for socket in self.sockets:
            with suppress(Unavailable):
                answer = _call(socket, method, path)
                if answer.status_code == 200:
                    return answer.json()
                if answer.headers.get("headway-outcome") == "version":
                    raise Unsupported(_words(answer))
                if answer.status_code < 500:
                    raise Refused(_words(answer))
        raise Unavailable("no runner answers")


def _call(path: Path, method: str, target: str, body: Any = None) -> httpx2.Response:  # noqa: ANN401 - JSON
    # There is no TLS on a unix socket; reading the roots for it would take 30 ms each time.
    transport = httpx2.HTTPTransport(uds=str(path), verify=False)
    try:
        with httpx2.Client(transport=transport, timeout=_LOAD, trust_env=False) as http:
            return http.request(method, f"http://runner{target}", json=body)
    except httpx2.HTTPError as error:
        raise Unavailable(f"the runner does not answer: {type(error).__name__}") from error


def _words(answer: httpx2.Response) -> str:
    try:
        return str(answer.json()["error"])[:500]
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status_code}"


def _tensor(part: Mapping[str, Any]) -> Tensor:
    return Tensor(part["name"], part["datatype"], tuple(part["shape"]))
