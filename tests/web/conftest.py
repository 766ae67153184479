"""A whole Headway in memory, and callers with keys of every role."""

from pathlib import Path

import pytest
from flask import Flask
from tests.web.world import Api, MakeApi, World

from headway.app import create_app


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "artifacts")


@pytest.fixture
def app(world: World) -> Flask:
    return create_app(world.services)


@pytest.fixture
def api(app: Flask, world: World) -> MakeApi:
    def caller(role: str | None, **bounds: tuple[str, ...]) -> Api:
        return Api(app.test_client(), None if role is None else world.key(role, **bounds))

    return caller


@pytest.fixture
def admin(api: MakeApi) -> Api:
    return api("admin")
