"""Who may do what: the table of roles, and the reach of a key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.auth.policy import Caller, check, may, within
from headway.auth.role import PERMISSIONS, Permission, Role
from headway.kernel.errors import Forbidden, NotFound

# The table of the documentation, permission by permission: who may.
TABLE = {
    "public": "viewer caller deployer admin",
    "traffic.call": "caller admin",
    "feedback.write": "caller admin",
    "traffic.list": "viewer caller deployer admin",
    "models.read": "viewer deployer admin",
    "artifacts.read": "viewer deployer admin",
    "routes.read": "viewer deployer admin",
    "deployments.read": "viewer deployer admin",
    "measurements.read": "viewer deployer admin",
    "models.write": "deployer admin",
    "artifacts.write": "deployer admin",
    "deployments.write": "deployer admin",
    "routes.write": "deployer admin",
    "rollbacks.write": "deployer admin",
    "snapshots.write": "deployer admin",
    "deployments.approve": "admin",
    "keys.read": "admin",
    "keys.write": "admin",
    "metrics.read": "admin",
}


def caller(role: Role = Role.ADMIN, models: str = "*", environments: str = "*") -> Caller:
    return Caller("k1", "ada", role, tuple(models.split()), tuple(environments.split()))


def test_every_permission_is_in_the_table() -> None:
    assert set(TABLE) == {permission.value for permission in Permission}
    assert set(PERMISSIONS) == set(Role)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("permission", Permission)
def test_a_role_may_what_the_table_says_and_nothing_else(
    role: Role, permission: Permission
) -> None:
    allowed = role.value in TABLE[permission.value].split()

    assert may(caller(role), permission) is allowed
    if allowed:
        check(caller(role), permission)
    else:
        with pytest.raises(Forbidden, match=permission.value):
            check(caller(role), permission)


@pytest.mark.parametrize(
    ("patterns", "model", "sees"),
    [
        ("*", "bot", True),
        ("bot", "bot", True),
        ("bot", "BOT", True),
        ("Bot-*", "bot-a", True),
        ("bot", "bot-a", False),
        ("bot-*", "bot", False),
        ("a b", "b", True),
        ("a b", "c", False),
    ],
)
def test_a_key_sees_the_models_that_it_names(*, patterns: str, model: str, sees: bool) -> None:
    one = caller(models=patterns)

    assert one.sees_model(model) is sees
    assert may(one, Permission.MODELS_READ, model=model) is sees
    assert caller(environments=patterns).sees_environment(model) is sees


def test_what_a_key_cannot_see_is_not_found_whatever_its_role() -> None:
    for role in Role:
        for permission in Permission:
            with pytest.raises(NotFound, match="'other'"):
                check(caller(role, models="bot"), permission, model="other")
            with pytest.raises(NotFound, match="'staging'"):
                check(caller(role, environments="prod"), permission, environment="staging")


def test_what_a_key_sees_but_may_not_do_is_forbidden() -> None:
    with pytest.raises(Forbidden, match=r"role viewer, which lacks the permission models\.write"):
        check(caller(Role.VIEWER), Permission.MODELS_WRITE, model="bot")


@pytest.mark.parametrize(
    ("narrow", "wide", "inside"),
    [
        ("bot", "*", True),
        ("*", "*", True),
        ("*", "bot bot-*", False),
        ("bot-*", "b*", True),
        ("b*", "bot-*", False),
        ("bot-a bot-b*", "bot-*", True),
        ("bot-a c", "bot-*", False),
        ("bot*", "bot", False),
    ],
)
def test_reach_is_compared(*, narrow: str, wide: str, inside: bool) -> None:
    assert within(narrow.split(), wide.split()) is inside


names = st.text(alphabet="ab", min_size=1, max_size=3)
patterns = st.lists(names | names.map(lambda n: f"{n}*") | st.just("*"), min_size=1, max_size=3)


@given(patterns, patterns, names)
def test_what_lies_within_never_sees_more(narrow: list[str], wide: list[str], model: str) -> None:
    if within(narrow, wide) and caller(models=" ".join(narrow)).sees_model(model):
        assert caller(models=" ".join(wide)).sees_model(model)


def test_the_history_names_key_and_kind() -> None:
    actor = caller().actor

    assert (actor.name, actor.kind) == ("ada (k1)", "person")
