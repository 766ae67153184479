"""Where gateways find the value of a credential, and which hosts may be sent it.

A version holds a credential's name alone. The value is `HEADWAY_SECRET_<NAME>` where gateways run,
and it goes to the hosts in `HEADWAY_SECRET_<NAME>_HOSTS`: for some they are built in.
"""

from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit

from headway.registry.target import LocalTarget, Target

VARIABLE: Final = "HEADWAY_SECRET_"
HOSTS: Final = "_HOSTS"
BUILT_IN: Final[Mapping[str, tuple[str, ...]]] = {
    "OPENAI": ("api.openai.com", "*.api.openai.com"),
    "ANTHROPIC": ("api.anthropic.com",),
}
"""Hosts by the credential's name as it stands in the variable."""


def variable_name(credential: str) -> str:
    """Return what stands behind `HEADWAY_SECRET_`."""
    return credential.upper().replace("-", "_")


def may_go_to(host: str, patterns: Iterable[str]) -> bool:
    """Say whether a host is among `api.example.com`, `*.example.com`."""
    name = host.lower().rstrip(".")
    return any(
        (name.endswith(pattern[1:]) and len(name) > len(pattern) - 1)
        if pattern.startswith("*.")
        else name == pattern
        for pattern in patterns
    )


def needs(target: Target) -> tuple[str, ...]:
    """Return the variables that gateways must have for a version: `NAME`, or `NAME=what`."""
    if isinstance(target, LocalTarget) or target.credential is None:
        return ()
    name = variable_name(target.credential)
    host = urlsplit(target.base_url).hostname or ""
    value = f"{VARIABLE}{name}"
    if may_go_to(host, BUILT_IN.get(name, ())):
        return (value,)
    return (value, f"{value}{HOSTS}={host}")
