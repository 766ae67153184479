"""SQL text is never built from input: what is no constant is bound as a parameter.

The linter (S608) looks for statements; this looks at every way in which text becomes SQL.
"""

import ast
from pathlib import Path

import headway

SOURCE = Path(headway.__file__).parent
WAYS = {"text", "literal_column", "exec_driver_sql", "execute", "executemany", "DDL", "column"}
BUILT = {
    ("persistence/engine.py", "PRAGMA "),
    ("persistence/migrations/versions/first_tables_0001.py", "CREATE TRIGGER "),
}
"""Text that is put together within a function: of names that stand in the source."""


def built(tree: ast.AST) -> list[ast.expr]:
    """Return what is given to SQL within functions as text that is no constant."""
    found = []
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        for call in ast.walk(function):
            if not isinstance(call, ast.Call) or not call.args:
                continue
            name = getattr(call.func, "attr", getattr(call.func, "id", ""))
            first = call.args[0]
            made = isinstance(first, ast.JoinedStr | ast.BinOp) or (
                isinstance(first, ast.Call)
                and getattr(first.func, "attr", "") in {"format", "join"}
            )
            if name in WAYS and made:
                found.append(first)
    return found


def first_words(text: ast.expr) -> str:
    start = text.values[0] if isinstance(text, ast.JoinedStr) else text
    return str(start.value) if isinstance(start, ast.Constant) else ast.unparse(text)


def test_no_statement_is_put_together_at_run_time() -> None:
    found = {
        (str(path.relative_to(SOURCE)), first_words(text))
        for folder in ("persistence", "wiring", "web", "adapters")
        for path in (SOURCE / folder).rglob("*.py")
        for text in built(ast.parse(path.read_text("utf-8")))
    }
    assert found == BUILT


def test_what_is_put_together_is_seen() -> None:
    for line in (
        'c.execute(f"SELECT {x}")',
        'c.execute(sa.text("SELECT " + x))',
        'c.exec_driver_sql("SELECT {}".format(x))',
        'sa.text(f"{x}")',
    ):
        assert built(ast.parse(f"def f(x):\n    {line}"))


def test_no_line_is_excused_from_the_linters_rule() -> None:
    for path in SOURCE.rglob("*.py"):
        assert "S608" not in path.read_text("utf-8"), path
    for settings in SOURCE.parents[1].glob("pyproject.toml"):
        assert "S608" not in settings.read_text("utf-8")
