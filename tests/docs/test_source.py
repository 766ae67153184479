"""The source keeps the promises that no linter holds."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "src/headway").rglob("*.py"))
SCRIPTS = sorted(path for part in ("tests", "benchmarks") for path in (ROOT / part).rglob("*.py"))
SILENT = re.compile(r"# noqa(: [A-Z0-9, ]+)?\s*$", re.MULTILINE)
"""An exception from a rule that does not say why."""


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    said = ast.get_docstring(ast.parse(path.read_text("utf-8")))
    assert said, "begins with its purpose, in one sentence"
    assert said.splitlines()[0].endswith((".", ":", "?")), "which is a sentence"


def test_the_package_itself_holds_its_purpose_and_nothing_else() -> None:
    (only,) = ast.parse((ROOT / "src/headway/__init__.py").read_text("utf-8")).body
    assert isinstance(only, ast.Expr)
    assert isinstance(only.value, ast.Constant)


def test_every_exception_from_a_rule_says_why() -> None:
    silent = [
        name_of(path) for path in (*MODULES, *SCRIPTS) if SILENT.search(path.read_text("utf-8"))
    ]
    assert silent == []


def test_no_lock_names_a_host() -> None:
    locks = sorted((ROOT / "requirements").glob("*.txt"))
    assert [lock.name for lock in locks] == ["dev.txt", "run.txt", "uv.txt"]
    for lock in locks:
        pins = [line for line in lock.read_text("utf-8").splitlines() if "==" in line]
        assert pins, lock.name
        assert "://" not in lock.read_text("utf-8")
        assert all(line.endswith("\\") for line in pins), f"{lock.name}: a pin without hashes"
    assert not [name for name in ("uv.lock", "pylock.toml") if (ROOT / name).exists()]
