"""The callers of the story: held-out digits as live traffic, the true labels half a second on.

Each request draws an image at random with replacement and has a conversation of its own: then
requests are independent, and the evidence speaks of the population of these images.
"""

import asyncio
import random
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2
import numpy as np
import orjson
from numpy.typing import NDArray

_LABEL_DELAY: Final = 0.5
_LABELS_AT_ONCE: Final = 1_000
_LABELS_KEPT: Final = 50_000
_CONCURRENT: Final = 64
_ATTEMPTS: Final = 6
_SLOWEST: Final = 20.0
"""Requests per second below which the caller does not slow down any more."""


@dataclass(slots=True)
class Seen:
    """What the callers saw of one version."""

    answered: int = 0
    failed: int = 0
    right: int = 0
    milliseconds: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Caller:
    """Sends requests at a steady rate until it is stopped; slower if the machine is slow."""

    url: str
    key: str
    images: NDArray[Any]
    labels: NDArray[np.int64]
    rate: float
    seen: dict[str, Seen] = field(default_factory=dict)
    broken: Counter[str] = field(default_factory=Counter)
    """Requests that got no answer at all (the process that had them was killed), by error."""
    asked_again: int = 0
    """Requests told to come back in a second, as all clients of such APIs do."""
    lost_labels: int = 0
    _labels: list[tuple[float, str, bool]] = field(default_factory=list)
    _bodies: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._bodies = [
            orjson.dumps(
                {
                    "inputs": [
                        {
                            "name": "image",
                            "shape": [1, 64],
                            "datatype": "FP32",
                            "data": [int(pixel) for pixel in image],
                        }
                    ]
                }
            )
            for image in self.images
        ]

    async def run(self, stop: asyncio.Event, *, chance: random.Random) -> None:
        limits = httpx2.Limits(max_connections=_CONCURRENT, max_keepalive_connections=_CONCURRENT)
        async with httpx2.AsyncClient(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.key}"},
            limits=limits,
            timeout=10.0,
            trust_env=False,
        ) as http:
            labels = asyncio.create_task(self._send_labels(http, stop))
            room = asyncio.Semaphore(_CONCURRENT)
            calls: set[asyncio.Task[None]] = set()
            due = time.monotonic()
            while not stop.is_set():
                await room.acquire()
                call = asyncio.create_task(self._call(http, room, chance))
                calls.add(call)
                call.add_done_callback(calls.discard)
                due = max(due + 1 / self.rate, time.monotonic() - 1 / _SLOWEST)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            await asyncio.gather(*calls, return_exceptions=True)
            await labels

    async def _call(
        self, http: httpx2.AsyncClient, room: asyncio.Semaphore, chance: random.Random
    ) -> None:
        which = chance.randrange(len(self._bodies))
        conversation = f"demo-{chance.getrandbits(64):016x}"
        began = time.monotonic()
        try:
            for attempt in range(_ATTEMPTS):
                answer = await self._post(http, which, conversation, attempt)
                pause = answer.headers.get("retry-after")
                if answer.status_code != 503 or pause is None:
                    break
                self.asked_again += 1
                await asyncio.sleep(float(pause))
        except httpx2.HTTPError as error:
            self.broken[type(error).__name__] += 1
            return
        finally:
            room.release()
        self._take(answer, int(self.labels[which]), (time.monotonic() - began) * 1000)

    async def _post(
        self, http: httpx2.AsyncClient, which: int, conversation: str, attempt: int
    ) -> httpx2.Response:
        headers = {
            "Content-Type": "application/json",
            "Headway-Conversation": conversation,
            "x-stainless-retry-count": str(attempt),
        }
        return await http.post(
            "/v2/models/digits/infer", content=self._bodies[which], headers=headers
        )

    def _take(self, answer: httpx2.Response, label: int, milliseconds: float) -> None:
        version = answer.headers.get("headway-version", "none")
        seen = self.seen.setdefault(version, Seen())
        if answer.status_code != 200:
            seen.failed += 1
            return
        seen.answered += 1
        seen.milliseconds.append(milliseconds)
        outputs = orjson.loads(answer.content)["outputs"]
        said = next(output["data"][0] for output in outputs if output["name"] == "label")
        right = said == label
        seen.right += right
        self._labels.append((time.monotonic(), answer.headers["x-request-id"], right))

    async def _send_labels(self, http: httpx2.AsyncClient, stop: asyncio.Event) -> None:
        """Send what is old enough, in lists; what control does not take now is sent again."""
        while not stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _LABEL_DELAY / 2)
            old = time.monotonic() - _LABEL_DELAY
            ready = [label for label in self._labels if label[0] <= old][:_LABELS_AT_ONCE]
            if not ready:
                continue
            items = [
                {"request_id": request_id, "scores": {"correct": float(right)}}
                for _, request_id, right in ready
            ]
            try:
                answer = await http.post("/api/v1/feedback", json={"items": items})
                answer.raise_for_status()
            except httpx2.HTTPError:
                self.lost_labels += len(self._labels[_LABELS_KEPT:])
                del self._labels[_LABELS_KEPT:]
                continue
            sent = set(map(id, ready))
            self._labels = [label for label in self._labels if id(label) not in sent]
