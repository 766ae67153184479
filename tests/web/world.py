"""A whole Headway in memory, and a client of its API."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from headway.adapters.stores.local import LocalStore
from headway.artifacts.service import ArtifactService
from headway.auth.key import digester
from headway.auth.role import Role
from headway.auth.service import KeyService, Wish
from headway.auth.session_service import SessionService
from headway.deployments.rollback_service import RollbackService
from headway.deployments.service import DeploymentService
from headway.kernel.ids import new_id
from headway.outbox.history import HistoryService
from headway.registry.service import RegistryService
from headway.routing.service import RoutingService
from headway.services import Services
from headway.snapshots.service import SnapshotService
from headway.testing import memory
from headway.tracking.feedback import FeedbackService
from headway.tracking.price import Timeline
from headway.tracking.price_service import PriceService, Upstream
from headway.tracking.service import TrackingService
from headway.tracking.stamp import Stamper
from headway.web.transaction import Joined
from headway.wiring import plugins

NOW = 1_767_225_600_000
"""2026-01-01T00:00:00Z"""


class World:
    """Services on dictionaries, a clock to turn, and a key for whoever is needed."""

    def __init__(self, folder: Path, *, begin: Joined[Any] | None = None) -> None:
        self.now = NOW
        self.edition = "prices 1"
        self.published: dict[Upstream, Timeline] = {}
        """What the published prices say."""
        self.begin = begin or Joined(partial(memory.begin, memory.Store(), self.clock))
        self.keys = KeyService(self.begin, self.clock, digester(b"k" * 32))
        self.stamper = Stamper(b"s" * 32)
        ids = partial(new_id, clock=self.clock)
        self.snapshots = SnapshotService(self.begin, self.clock, ids)
        checks = plugins.load("checks")
        self.services = Services(
            registry=RegistryService(self.begin, self.clock),
            artifacts=ArtifactService(
                self.begin, LocalStore(folder), self.clock, limit=1 << 20, reserve=0
            ),
            keys=self.keys,
            sessions=SessionService(self.begin, self.clock, digester(b"c" * 32)),
            routing=RoutingService(
                self.begin, self.clock, ids, self.stamper.read, self.snapshots.keep
            ),
            snapshots=self.snapshots,
            deployments=DeploymentService(
                self.begin, plugins.load("strategies"), checks, new_id=ids
            ),
            rollbacks=RollbackService(self.begin, checks, new_id=ids),
            tracking=TrackingService(self.begin, self.clock),
            feedback=FeedbackService(self.begin, self.stamper),
            prices=PriceService(
                self.begin, self.clock, lambda _: self.published, lambda: self.edition
            ),
            history=HistoryService(self.begin),
            begin=self.begin,
            clock=self.clock,
        )

    def clock(self) -> int:
        return self.now

    def key(
        self,
        role: str,
        *,
        models: tuple[str, ...] = ("*",),
        environments: tuple[str, ...] = ("*",),
    ) -> str:
        """Make a key and return its text."""
        wish = Wish(role, Role(role), models, environments)
        return self.keys.create_on_machine(wish).secret.text


class Api:
    """Calls the API as the owner of one key."""

    def __init__(self, http: FlaskClient, key: str | None) -> None:
        self._http = http
        self._head = {} if key is None else {"Authorization": f"Bearer {key}"}

    def __call__(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: dict[str, str] | None = None,
        data: bytes | None = None,
    ) -> TestResponse:
        """Call `/api/v1<path>`, or the path itself if it begins with two slashes."""
        target = path[1:] if path.startswith("//") else f"/api/v1{path}"
        head = self._head | (headers or {})
        if body is not None:
            data = json.dumps(body).encode()
            head = {"Content-Type": "application/json"} | head
        return self._http.open(target, method=method, headers=head, data=data)

    def done(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: dict[str, str] | None = None,
        data: bytes | None = None,
    ) -> Any:  # noqa: ANN401 - any JSON
        """Call, expect success, return the JSON."""
        answer = self(method, path, body, headers=headers, data=data)
        assert answer.status_code < 300, answer.get_data(as_text=True)
        return answer.get_json() if answer.get_data() else None


MakeApi = Callable[..., Api]
"""Takes a role (None: no key) and the bounds of a new key, returns a client."""
