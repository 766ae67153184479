"""A real browser before the page, and a server that can be taken away from it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from playwright.sync_api import Page
from tests.dashboard.world import Desk
from werkzeug.serving import BaseWSGIServer, make_server

QUIET: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
SOON: Final = 15_000


@dataclass
class Seen:
    """What a browser complained of, and whom it asked."""

    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)


@dataclass
class Visit:
    page: Page
    seen: Seen


Visitor = Callable[..., Visit]


def note(seen: Seen, kind: str, text: str) -> None:
    if kind in {"error", "warning"}:
        seen.complaints.append(text)


@dataclass
class Served:
    """A server that can be stopped and started again on its port."""

    desk: Desk
    port: int
    server: BaseWSGIServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.server = make_server("127.0.0.1", self.port, self.desk.app, threaded=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        if self.server is not None:
            self.desk.app.extensions["headway"].viewers.close()
            self.server.shutdown()
            self.server.server_close()
            self.server = None
