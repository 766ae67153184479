"""A Headway in memory with a page in front: its traffic is invented, its clock is turned."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from flask import Flask
from flask.testing import FlaskClient
from tests.deployments import world as deployments
from tests.web import world as web
from werkzeug.test import TestResponse

from headway.app import create_app
from headway.deployments.deployment import Deployment
from headway.kernel.clock import MINUTE, SECOND
from headway.services import Services
from headway.web.dashboard import PAGES
from headway.web.transaction import Joined

OURS: Final = {"Sec-Fetch-Site": "same-origin"}
"""What a browser says of a form that a page of ours sent."""
TOKEN: Final = re.compile(r'name="token" value="([0-9a-f]+)"')


class Desk(web.World):
    """One clock for both: deployments that move, and the services that show them."""

    def __init__(self, folder: Path) -> None:
        self.delivery = deployments.World()
        super().__init__(folder, begin=Joined(self._begin))
        self.app = self.served_by(self.services)

    @staticmethod
    def served_by(services: Services) -> Flask:
        return create_app(services, pages=PAGES)

    @contextmanager
    def _begin(self) -> Iterator[Any]:
        with self.delivery.begin() as work:
            yield work

    def clock(self) -> int:
        return self.delivery.now

    def later(self, milliseconds: int) -> None:
        self.delivery.later(milliseconds)

    def browser(self, role: str | None = None, **bounds: tuple[str, ...]) -> "Browser":
        """Return a browser, logged in by a new key of that role."""
        found = Browser(self.app.test_client())
        if role is not None:
            answer = found.log_in(self.key(role, **bounds))
            assert answer.status_code == 303, answer.text
        return found

    def canary(self, to: str = "1.1.0", **more: Any) -> Deployment:  # noqa: ANN401 - words of a plan
        """Have 1.0.0 stable, and 10 % of the traffic on a candidate."""
        self.delivery.gateway()
        self.delivery.serve("1.0.0")
        made = self.delivery.deploy(to, **more)
        self.delivery.run(2 * SECOND)
        self.delivery.measure("1.0.0", ok=1_778, provider=22, latency=(20.0, 30.0, 40.0))
        return self.delivery.row(made)

    def judged(
        self,
        made: Deployment,
        *,
        candidate: tuple[int, int],
        stable: tuple[int, int] = (1_800, 22),
    ) -> None:
        """Let traffic come of age (requests, bad ones), and the reconciler look at it."""
        self.delivery.traffic(made, candidate=candidate, stable=stable)
        self.delivery.run(10 * SECOND)

    def proven(self, made: Deployment) -> None:
        """Let the first step end by its proof."""
        self.judged(made, candidate=(1_000, 12), stable=(9_000, 110))

    def idle(self) -> None:
        self.later(61 * MINUTE)


class Browser:
    """Holds cookies, and sends forms as the page has them."""

    def __init__(self, http: FlaskClient, base: str = "http://localhost") -> None:
        self.http = http
        self._base = base

    def get(self, path: str = "/") -> TestResponse:
        return self.http.get(path, base_url=self._base)

    def post(
        self, path: str, fields: dict[str, str], headers: dict[str, str] | None = None
    ) -> TestResponse:
        return self.http.post(
            path, data=fields, headers=OURS if headers is None else headers, base_url=self._base
        )

    def token(self, path: str = "/") -> str:
        found = TOKEN.search(self.get(path).text)
        assert found is not None
        return found[1]

    def log_in(self, key: str, headers: dict[str, str] | None = None) -> TestResponse:
        return self.post("/login", {"key": key, "token": self.token("/login")}, headers)

    def send(self, path: str, **fields: str) -> TestResponse:
        """Send a form of the page."""
        return self.post(path, {"token": self.token(), **fields})

    def cookie(self, name: str) -> str:
        found = self.http.get_cookie(name, domain=self._base.partition("://")[2])
        assert found is not None
        return found.value
