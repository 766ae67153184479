"""The tutorial works at a terminal, typed as it stands."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.docs.test_how_to import ROOT, typed
from tests.e2e.processes import free_port

PAGE = ROOT / "docs" / "tutorial" / "digits.md"


@contextmanager
def served_at_a_terminal(folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """Run `headway serve` at a terminal until the block ends; yield the key that it shows."""
    here, there = os.openpty()
    os.set_inheritable(there, True)  # noqa: FBT003 - its only parameter
    words = f"cd {folder} && exec {sys.executable} -m headway.cli serve"
    process = os.posix_spawn(
        "/bin/sh",
        ["sh", "-c", words],
        environment,
        file_actions=[(os.POSIX_SPAWN_DUP2, there, fd) for fd in (0, 1, 2)],
    )
    os.close(there)
    try:
        said = ""
        while (found := re.search(r"shown this once: (hw_\w+)\s", said)) is None:
            said += os.read(here, 4096).decode()
        yield found[1]
    finally:
        os.kill(process, 15)
        os.waitpid(process, 0)
        os.close(here)


def test_the_tutorial_works_at_a_terminal(tmp_path: Path) -> None:
    text = PAGE.read_text("utf-8")
    (training,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    shown = re.findall(r"(?:^    .+\n)+", text.replace(training, ""), re.MULTILINE)
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if "HEADWAY" not in name}
    environment = kept | {
        "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}",
        "HEADWAY_PORT": str(port),
        "HEADWAY_DATA": "tutorial",
    }
    key_line = next(block for block in shown if "HEADWAY_KEY=" in block)
    # All but the setting up of the two shells.
    commands = "".join(block for block in shown[2:])
    assert key_line == shown[1]

    with served_at_a_terminal(tmp_path, environment) as key:
        script = (
            f"{key_line.replace('hw_...', key)}\n"
            f"python - <<'PYTHON'\n{training}PYTHON\n"
            + commands.replace("http://127.0.0.1:8000", f"http://127.0.0.1:{port}")
            .replace("curl -s", "curl -sf")
            .replace("/infer\n", "/infer | tee answer\n")
            .replace(
                "req_...", "$(grep -io '^x-request-id: [^ ]*' answer | tr -d '\\r' | cut -c15-)"
            )
            .replace("dep_...", "$(headway deploy list -o json | grep -om1 'dep_[0-9A-Za-z]*')")
        )
        said = typed(script, tmp_path, environment)

    assert not (tmp_path / "tutorial" / "admin.key").exists()
    assert "1.0.0 is the stable version now" in said
    assert "headway-version: 1.0.0" in said.lower()
    assert "taken: correct" in said
    assert said.rstrip().endswith("committed")
