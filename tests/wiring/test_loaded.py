"""What a process of the tree loads: each module costs all of them memory and start-up."""

import json
import subprocess
import sys
from collections.abc import Sequence

import pytest

NOBODY = ("alembic", "numpy", "onnx", "onnxruntime", "psycopg", "rich", "pygments", "sqlite3")
DATABASE = ("sqlalchemy.orm", "sqlalchemy.dialects.postgresql")
WEB = ("flask", "werkzeug", "jinja2", "jsonschema", "httpx2")
GATEWAY = ("headway.wiring.gateway", "headway.cli.machine", "uvloop")
SCRIBE = ("headway.wiring.scribe",)
CONTROL = ("headway.app", "headway.wiring.control")


def loaded(modules: Sequence[str], and_then: str = "") -> set[str]:
    program = [
        f"import json, sys, {', '.join(modules)}",
        and_then,
        # None stands for what was forbidden, not for what was loaded.
        "print(json.dumps([name for name, module in sys.modules.items() if module]))",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(program)], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("modules", "others"),
    [
        (GATEWAY, (*WEB, "sqlalchemy", "pysqlite3", "pydantic", "structlog", "yaml")),
        (SCRIBE, (*WEB, "uvloop", "httptools", "structlog", "yaml")),
        (CONTROL, ("uvloop",)),
    ],
    ids=["gateway", "scribe", "control"],
)
def test_a_process_loads_nothing_that_it_does_not_need(
    modules: Sequence[str], others: Sequence[str]
) -> None:
    assert loaded(modules) & {*NOBODY, *DATABASE, *others} == set()


@pytest.mark.parametrize(
    "speaks",
    [
        "from headway.wiring.logs import LateLog; LateLog('gateway', 'info').warning('a word')",
        "from headway.wiring.logs import configure; configure('control', 'info')",
    ],
    ids=["gateway", "control"],
)
def test_a_log_never_brings_tracebacks_in_colours(speaks: str) -> None:
    found = loaded(["headway.wiring.logs"], speaks)

    assert "structlog" in found
    assert not found & {"rich", "pygments", "rich.console"}
