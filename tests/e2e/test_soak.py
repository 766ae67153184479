"""The soak, for a moment: counts equal the provider's log, no connection is left."""

import subprocess
import sys
from pathlib import Path

SOAK = Path(__file__).parents[2] / "benchmarks" / "soak.py"


def test_mixed_traffic_is_counted_to_the_request_and_leaves_no_connection() -> None:
    ran = subprocess.run(
        [sys.executable, str(SOAK), "3"], capture_output=True, text=True, timeout=240, check=False
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "BROKEN" not in ran.stdout
    assert "0 connections to the provider are left" in ran.stdout
