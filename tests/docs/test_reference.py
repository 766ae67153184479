"""Every setting, command, operation and metric stands in the reference, and nothing else does."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import pytest
from tests.web.world import World

from headway.app import create_app
from headway.cli.main import main
from headway.deployments.reading import read_plan
from headway.deployments.strategies.canary import canary
from headway.gateway import passing
from headway.registry.target import target_from_document
from headway.settings import Settings
from headway.tracking.measurement import TOKEN_CLASSES, Outcome
from headway.web import errors, openapi
from headway.web.api import versions
from headway.web.api.metrics import Known
from headway.web.reading import read_yaml

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = DOCS / "reference"


def commands(command: click.Command, words: str) -> Iterator[tuple[str, set[str]]]:
    """Return each command's words, and its options but for those that all have."""
    if not isinstance(command, click.Group):
        yield (
            words,
            {
                max(option.opts, key=len)
                for option in command.params
                if isinstance(option, click.Option)
            }
            - {"--help"},
        )
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from commands(found, f"{words} {name}")


def test_every_setting_is_described() -> None:
    told = set(re.findall(r"^\| `(HEADWAY_[A-Z_]+)`", text("settings.md"), re.MULTILINE))

    assert told == {f"HEADWAY_{name.upper()}" for name in Settings.model_fields}


def test_every_command_and_option_is_described() -> None:
    rows = re.findall(
        r"^\| `(headway [a-z -]+?)((?: [A-Z\[][^`]*)?)` \|", text("cli.md"), re.MULTILINE
    )
    told = {words: set(re.findall(r"--[a-z-]+", rest)) for words, rest in rows}

    assert told == dict(commands(main, "headway"))


def test_every_operation_is_described(tmp_path: Path) -> None:
    app = create_app(World(tmp_path / "artifacts").services)
    with app.app_context():
        paths = openapi.document(app)["paths"]
    there = {
        f"{method.upper()} {path}"
        for path, methods in paths.items()
        for method in methods
        if method != "parameters"
    }
    api = text("rest-api.md").split("## Traffic")[0]
    told = set(re.findall(r"^\| `([A-Z]+ /\S+)` \|", api, re.MULTILINE))

    assert told == there


def test_every_field_of_a_version_is_described() -> None:
    told = set(re.findall(r"^\| `(\w+)`", text("versions.md"), re.MULTILINE))
    shapes = (
        versions.NewVersion,
        versions.HostedTargetIn,
        versions.InferenceTargetIn,
        versions.LocalTargetIn,
        versions.TimeoutsIn,
    )

    assert {name for shape in shapes for name in shape.model_fields} <= told


def test_the_version_of_the_reference_is_one() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", text("versions.md"), re.DOTALL)

    target_from_document(versions.NewVersion.model_validate_json(example).target.model_dump())


def test_every_metric_is_described() -> None:
    collector = Known(
        totals=[],
        timings={},
        unrouted={},
        routes=[],
        active=[],
        free_bytes=0,
        costs={},
        priced={},
        keys=[],
        key_counts={},
    )
    suffix = {"counter": "_total", "info": "_info"}
    there = {metric.name + suffix.get(metric.type, "") for metric in collector.collect()}
    told = set(re.findall(r"^\| `(headway_[a-z_]+)`", text("metrics.md"), re.MULTILINE))

    assert told == there
    assert all(word.value in text("metrics.md") for word in Outcome)
    assert all(word in text("metrics.md") for word in TOKEN_CLASSES)


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


def test_the_plans_of_the_reference_are_plans_and_its_defaults_the_defaults() -> None:
    small, whole = (
        read_plan(read_yaml(block.encode()).document, {"canary": canary})
        for block in re.findall(r"```yaml\n(.*?)```", text("plans.md"), re.DOTALL)
    )

    assert whole.judging == replace(small.judging, weights={"errors": 2.0})
    assert whole.going_back == small.going_back
    assert whole.strategy == small.strategy


def text(page: str) -> str:
    return (REFERENCE / page).read_text("utf-8")


def test_every_kind_of_error_is_described() -> None:
    controls = {
        (int(kind.status), kind.slug): kind.title
        for kind in (*errors.KINDS.values(), *errors.FRAMEWORK.values())
    }
    gateways = {(status, slug): title for status, (slug, title) in passing.KINDS.items()}
    pages = re.findall(r"^## (\S+)\n\n(\d+)\.", text("errors.md"), re.MULTILINE)

    assert {(int(status), slug) for slug, status in pages} == {*controls, *gateways}
    # One kind of error has one title, whoever answers it.
    assert {**controls, **gateways} == {**gateways, **controls}
