"""Where everything is installed, what is skipped has failed: nobody would look otherwise."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")
PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
SKIPS = {
    "mark": '@pytest.mark.skip(reason="no")\ndef test_it() -> None: ...\n',
    "call": 'def test_it() -> None:\n    pytest.skip("no")\n',
    "file": 'pytest.skip("no", allow_module_level=True)\n',
    "import": 'pytest.importorskip("no_such_module_anywhere")\n',
}


@pytest.mark.parametrize(("ci", "told"), [("1", {*SKIPS}), ("", set[str]())])
def test_every_way_to_skip_fails_in_ci_alone(tmp_path: Path, ci: str, told: set[str]) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text("utf-8"), "utf-8")
    for way, text in SKIPS.items():
        (tmp_path / f"test_{way}.py").write_text(f"import pytest\n\n{text}", "utf-8")
    done = subprocess.run(
        [*PYTEST, "--continue-on-collection-errors", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "HEADWAY_CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )
    refused = {
        way
        for way in SKIPS
        if re.search(rf"test_{way}\.py\S* was skipped, and nothing may be", done.stdout)
    }
    assert refused == told, done.stdout
    assert (done.returncode == 1) is bool(told)
