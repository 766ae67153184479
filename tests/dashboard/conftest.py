"""A page with something behind it."""

from pathlib import Path

import pytest
from tests.dashboard.world import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "artifacts")
