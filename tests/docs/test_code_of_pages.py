"""The code in the how-to pages runs."""

import re
from pathlib import Path

import pytest

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
PAGES = ("test-against-a-scripted-provider.md",)
BLOCKS = [
    (page, number, code)
    for page in PAGES
    for number, code in enumerate(
        re.findall(r"```python\n(.*?)```", (HOW_TO / page).read_text("utf-8"), re.DOTALL)
    )
]


@pytest.mark.parametrize(
    ("page", "code"), [(page, code) for page, _, code in BLOCKS], ids=lambda value: value[:30]
)
def test_code_of_a_page_runs(page: str, code: str) -> None:
    exec(compile(code, page, "exec"), {})  # noqa: S102 - our own pages
