"""What is asked of a model with very many versions is read from an index, in its order."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, Literal, get_args

import pytest
import sqlalchemy as sa
from tests.persistence.examples import NOON, model, version

from headway.persistence.engine import Database
from headway.persistence.tables import models, versions
from headway.persistence.work import SqlWork, begin
from headway.registry.model import State
from headway.registry.ports import ModelOrder, ModelQuery, VersionQuery
from headway.registry.requirement import Requirement
from headway.registry.version import SemVer

MANY: Final = 3_000

Order = Literal["precedence", "-precedence", "created", "-created"]


def page(*, order: Order = "-precedence", allowed: str | None = None) -> Callable[[SqlWork], Any]:
    """Turn to the second page, or to the first of a range."""
    requirement = None if allowed is None else Requirement.parse(allowed)
    query = VersionQuery("digits", order=order, requirement=requirement, limit=10)

    def turn(work: SqlWork) -> object:
        first = work.versions.page(query)
        return first if allowed else work.versions.page(replace(query, after=first.next))

    return turn


def page_of_models(order: ModelOrder) -> Callable[[SqlWork], Any]:
    query = ModelQuery(order=order, limit=10)

    def turn(work: SqlWork) -> object:
        return work.models.page(replace(query, after=work.models.page(query).next))

    return turn


def best(allowed: str) -> Callable[[SqlWork], Any]:
    return lambda work: work.versions.best("digits", Requirement.parse(allowed), State.ACTIVE)


READS: Final[dict[str, Callable[[SqlWork], Any]]] = {
    "latest": lambda work: work.versions.latest("digits"),
    "highest": lambda work: work.versions.highest("digits"),
    "a range": best("^1.20"),
    "a range that nothing fits": best("^77 || ~88.1"),
    "a page of a range": page(allowed="^1.20"),
    **{f"a page by {order}": page(order=order) for order in get_args(Order)},
    **{f"a page of models by {order}": page_of_models(order) for order in get_args(ModelOrder)},
}


@pytest.fixture
def crowded(database: Database) -> Database:
    """Give a database with thousands of models, one of which has thousands of versions."""
    with begin(database) as work:
        for name in ("digits", *(f"other-{n}" for n in range(20))):
            work.models.add(model(name))
            work.versions.add(version("0.0.1", of=name))
        work.commit()
    with database.engine.begin() as connection:
        row = dict(connection.execute(sa.select(versions).limit(1)).mappings().one())
        del row["id"]
        numbers = [SemVer(n % 3, n // 3 % 40, n, ("rc",) * (n % 5 == 0)) for n in range(1, MANY)]
        rows = [
            row
            | {
                "number": str(number),
                "precedence": number.precedence_key(),
                "release": number.is_release,
                "created_at": NOON + n,
            }
            for n, number in enumerate(numbers)
        ]
        connection.execute(sa.insert(versions), rows)
        row = dict(connection.execute(sa.select(models).limit(1)).mappings().one())
        del row["id"]
        many = [
            row | {"name": f"m{n}", "folded": f"m{n}", "created_at": NOON + n} for n in range(MANY)
        ]
        connection.execute(sa.insert(models), many)
        connection.execute(sa.text("ANALYZE"))
    return database


@pytest.mark.parametrize("what", READS)
def test_it_is_read_from_an_index(crowded: Database, what: str) -> None:
    with begin(crowded) as work, statements(crowded) as seen:
        READS[what](work)
    statement, values = seen[-1]
    explain = "EXPLAIN QUERY PLAN " if crowded.is_sqlite else "EXPLAIN "
    with crowded.engine.connect() as connection:
        plan = [str(row[-1]) for row in connection.exec_driver_sql(explain + statement, values)]

    table = "models" if "models" in what else "versions"
    assert any("index" in line.lower() and table in line for line in plan), plan
    assert not [line for line in plan if "Sort" in line or "TEMP B-TREE" in line], plan
    assert not [line for line in plan if f"Seq Scan on {table}" in line], plan
    assert not [line for line in plan if line.startswith("SCAN versions")], plan
    # All models are one list: a walk along its index, which ends with the page, is a SCAN too.
    assert "SCAN models" not in plan, plan


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # the other keeps them apart
def test_words_are_looked_for_without_a_look_at_the_wide_rows(crowded: Database) -> None:
    with begin(crowded) as work, statements(crowded) as seen:
        found = work.versions.page(VersionQuery("digits", q="39.2999", limit=10))
    statement, values = seen[-1]
    with crowded.engine.connect() as connection:
        explained = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        plan = [str(row[-1]) for row in explained]

    assert found.items == ()
    assert any("COVERING INDEX ix_versions_search" in line for line in plan), plan
    assert not [line for line in plan if "TEMP B-TREE" in line], plan
    assert not [line for line in plan if "PRIMARY KEY" in line and "versions" in line], plan


@contextmanager
def statements(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """Collect what is asked of the database meanwhile."""
    seen: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:  # noqa: ANN401 - SQLAlchemy's
        seen.append((statement, values))

    sa.event.listen(database.engine, "before_cursor_execute", note)
    yield seen
    sa.event.remove(database.engine, "before_cursor_execute", note)
