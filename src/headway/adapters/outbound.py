"""The one guard for all that goes out: which hosts may be called, and which secret goes where.

Two checks of one rule. When somebody registers a URL, `Outbound.check_url` reads it and says what
would be wrong, with the line that would allow it. When a connection is made, `Outbound.connect`
resolves the name once, checks *every* address and hands exactly these to the engine: nobody looks
the name up a second time. Redirects are never followed and proxies of the environment never used.
"""

import ipaddress
import re
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from headway.adapters.resolver import Resolver, look_up
from headway.adapters.resuming import ResumingContext
from headway.kernel.errors import Invalid, Refused
from headway.registry.credential import BUILT_IN, HOSTS, VARIABLE, may_go_to, variable_name
from headway.wire.origin import Origin, Route

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

ALLOW: Final = "HEADWAY_OUTBOUND_ALLOW"
_PORTS: Final = {"https": 443, "http": 80}
_NAME: Final = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*\.?\Z"
)

_NOT_PUBLIC: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
        "2001::/23",
        "2001:db8::/32",
        "3fff::/20",
    )
)
"""On top of `is_global`, which on Python 3.11 lets several of them through."""
_PUBLIC_6: Final = ipaddress.IPv6Network("2000::/3")
"""All that is global unicast in IPv6; everything outside it is not public."""
_NEVER: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "169.254.0.0/16",
        "168.63.129.16/32",
        "100.100.100.200/32",
        "192.0.0.192/32",
        "224.0.0.0/3",
        "::/128",
        "fd00:ec2::254/128",
        "fd20:ce::254/128",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)
"""Link-local and the metadata services of clouds: no setting opens them."""
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


class Audience(StrEnum):
    """Who is being called: to providers on this very machine a newcomer may talk at once."""

    PROVIDER = "provider"
    NOTIFIER = "notifier"


class NotAllowed(PermissionError):
    """An address that must not be called; the text says what would allow it."""


@dataclass(frozen=True, slots=True)
class Opening:
    """One entry of the allow-list: a network or a name, and the port."""

    port: int
    network: Network | None = None
    name: str = ""


def read_allow(text: str) -> tuple[Opening, ...]:
    """Read `10.20.0.0/16:8000, vllm.internal:8000, [fd00::/8]:8000`, or raise `Invalid`."""
    return tuple(_opening(entry.strip()) for entry in text.split(",") if entry.strip())


def _opening(entry: str) -> Opening:
    lesson = f'{ALLOW}: {entry[:128]!r} is not understood; write it as "10.20.0.0/16:8000", '
    lesson += '"vllm.internal:8000" or "[fd00::/8]:8000": the port is needed'
    host, colon, port = entry.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise Invalid.at("", lesson)
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    try:
        network = ipaddress.ip_network(host, strict=False)
    except ValueError:
        if bracketed or not _NAME.match(host) or _looks_numeric(host):
            raise Invalid.at("", lesson) from None
        return Opening(int(port), name=_plain(host))
    if (network.version == 6) is not bracketed:
        raise Invalid.at("", lesson)
    return Opening(int(port), network=network)


def _plain(host: str) -> str:
    return host.lower().rstrip(".")


def _looks_numeric(host: str) -> bool:
    """Say whether some resolver would read the name as an address: `127.1`, `0x7f000001`."""
    last = host.rstrip(".").rpartition(".")[2].lower()
    return not re.search("[a-z]", last) or bool(re.fullmatch(r"0x[0-9a-f]*", last))


def literal(host: str) -> Address | None:
    """Return the address that a host is, None for a name; raises `NotAllowed` for odd forms."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        if not host.isascii() or not _NAME.match(host) or _looks_numeric(host):
            raise NotAllowed(f"{host[:128]!r} is not a host in its usual form") from None
        return None
    if str(address) != bare.lower() or "%" in bare:
        raise NotAllowed(f"{host[:128]!r} is not a host in its usual form")
    return address


def inner(address: Address) -> tuple[Address, ...]:
    """Return the addresses that packets to this one end at: what mapped and tunnelled forms hold.

    v4-mapped, NAT64 (64:ff9b::/96), 6to4 and Teredo (server and client); else the address itself.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address in _NAT64:
        return (ipaddress.IPv4Address(int(address) & 0xFFFFFFFF),)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address.teredo is not None:
        return address.teredo
    return (address,)


def is_public(address: Address) -> bool:
    """Say whether an address (not a wrapped one) is public unicast."""
    if isinstance(address, ipaddress.IPv6Address) and address not in _PUBLIC_6:
        return False
    return address.is_global and not _within(address, _NOT_PUBLIC)


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address.version == net.version and address in net for net in networks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbound:
    """The rules of one installation.

    `loopback_open`: Headway itself listens on loopback only, so that its machine's own models may
    be called without a line of settings. `own_ports` are Headway's, and closed for ever.
    """

    allow: tuple[Opening, ...] = ()
    loopback_open: bool = False
    own_ports: frozenset[int] = frozenset()
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    """None: made from the system's roots when it is first needed, see `tls_context`."""
    resolver: Resolver = field(default_factory=Resolver, repr=False, compare=False)

    def check_url(
        self, text: str, *, audience: Audience = Audience.PROVIDER, pointer: str = ""
    ) -> None:
        """Raise `Invalid` for a URL that could never be called, with the line that opens it.

        Reads only: a name is not looked up, so an address behind it may still be refused later.
        """
        try:
            url = urlsplit(text)
            port = url.port
        except ValueError:
            raise Invalid.at(pointer, f"{text[:256]!r} is no URL") from None
        if url.scheme not in _PORTS or not url.hostname:
            raise Invalid.at(pointer, f"{text[:256]!r} must begin with https://")
        if "@" in url.netloc:
            raise Invalid.at(pointer, "a URL that is called holds no user and no password")
        if "#" in text:
            raise Invalid.at(pointer, "a URL that is called has no # part")
        port = port or _PORTS[url.scheme]
        try:
            address = literal(url.hostname)
            if address is None and _plain(url.hostname) == "localhost":
                address = ipaddress.IPv4Address("127.0.0.1")
            if address is not None:
                self.check(url.scheme, url.hostname, address, port, audience=audience)
        except NotAllowed as error:
            raise Invalid.at(pointer, str(error)) from None
        unlisted = address is None and not self._listed_name(url.hostname, port)
        if url.scheme == "http" and unlisted:
            raise Invalid.at(pointer, _plain_http(url.hostname, port))

    def check(
        self, scheme: str, host: str, address: Address, port: int, *, audience: Audience
    ) -> None:
        """Raise `NotAllowed` unless a connection to this address may be made.

        `host` is what the URL says, `address` one of those that it resolved to.
        """
        for real in inner(address):
            if real.is_loopback:
                self._check_loopback(host, real, port, audience)
                continue
            if _within(real, _NEVER):
                raise NotAllowed(f"{host} is {real}: such addresses are never called")
            if is_public(real):
                if scheme == "http":
                    raise NotAllowed(_plain_http(host, port))
                continue
            if not self._listed(host, real, port):
                raise NotAllowed(_closed(host, real, port))

    def _check_loopback(self, host: str, address: Address, port: int, audience: Audience) -> None:
        if port in self.own_ports:
            raise NotAllowed(f"{host}:{port} is Headway itself")
        if self._listed(host, address, port):
            return
        if not (self.loopback_open and audience is Audience.PROVIDER):
            raise NotAllowed(_closed(host, address, port))

    def _listed(self, host: str, address: Address, port: int) -> bool:
        return self._listed_name(host, port) or any(
            opening.port == port
            and opening.network is not None
            and _within(address, (opening.network,))
            for opening in self.allow
        )

    def _listed_name(self, host: str, port: int) -> bool:
        name = _plain(host)
        return any(opening.port == port and opening.name == name for opening in self.allow)

    def resolve(
        self, scheme: str, host: str, port: int, *, audience: Audience
    ) -> tuple[tuple[str, int], ...]:
        """Look a host up and return its addresses, all of which were checked.

        Raises `NotAllowed`, or `OSError` if the name is not known. Blocks: for threads.
        """
        address = literal(host)
        if address is not None:
            self.check(scheme, host, address, port, audience=audience)
            return ((str(address), port),)
        return self._checked(scheme, host, port, look_up(host, port), audience)

    def _checked(
        self, scheme: str, host: str, port: int, found: Iterable[str], audience: Audience
    ) -> tuple[tuple[str, int], ...]:
        addresses = dict.fromkeys(found)
        if not addresses:
            raise OSError(f"{host} has no address")
        for text in addresses:
            # A scope (fe80::1%eth0) marks a link-local address: refused by `check`.
            address = ipaddress.ip_address(text.partition("%")[0])
            self.check(scheme, host, address, port, audience=audience)
        return tuple((text, port) for text in addresses)

    async def connect(self, origin: Origin) -> Route:
        """Decide where a provider's connection goes: the connector of the engine's pool."""
        if origin.scheme == "unix":
            return Route(path=origin.host)
        scheme, host, port = origin.scheme, origin.host, origin.port
        if (address := literal(host)) is not None:
            self.check(scheme, host, address, port, audience=Audience.PROVIDER)
            addresses: tuple[tuple[str, int], ...] = ((str(address), port),)
        else:
            found = await self.resolver.addresses(host, port)
            addresses = self._checked(scheme, host, port, found, Audience.PROVIDER)
        if scheme == "http":
            return Route(addresses=addresses)
        context = self.tls or tls_context()
        return Route(addresses=addresses, server_hostname=host, context=context)


@cache
def tls_context(extra_roots: Path | None = None) -> ssl.SSLContext:
    """Return a context that always verifies; `extra_roots` is a PEM file of further roots.

    Made once: reading the roots takes 20 ms.
    """
    context = ResumingContext.default()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if extra_roots is not None:
        context.load_verify_locations(cafile=str(extra_roots))
    return context


def _line(host: str, port: int) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f'{ALLOW}="{shown}:{port}"'


def _closed(host: str, address: Address, port: int) -> str:
    where = host if host == str(address) else f"{host} ({address})"
    return f"{where} is not a public address; to allow it, set {_line(host, port)}"


def _plain_http(host: str, port: int) -> str:
    return (
        f"http:// goes to this machine and to listed private addresses only; use https://{host}, "
        f"or, if {host} is private, set {_line(host, port)}"
    )


class Secret:
    """A value that shows itself to nobody by accident."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"


class Secrets:
    """Credentials by name, each bound to the hosts that it may be sent to.

    `HEADWAY_SECRET_<NAME>` is the value, `HEADWAY_SECRET_<NAME>_HOSTS` a list of hosts
    (`api.example.com`, `*.example.com`, `127.0.0.1`); built in for openai and anthropic. No other
    variable can be named: else whoever registers a version could send any variable of the process
    to a host of his own.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._values: dict[str, Secret] = {}
        self._hosts: dict[str, tuple[str, ...]] = dict(BUILT_IN)
        for variable, value in environ.items():
            if not variable.startswith(VARIABLE):
                continue
            name = variable.removeprefix(VARIABLE)
            if name.endswith(HOSTS):
                hosts = (host.strip().lower() for host in value.split(","))
                self._hosts[name.removesuffix(HOSTS)] = tuple(host for host in hosts if host)
            else:
                self._values[name] = Secret(value.strip())

    def value(self, credential: str, host: str) -> str:
        """Return the value for a request to that host, or raise `Refused` that says what to set.

        The message never holds a value.
        """
        name = variable_name(credential)
        variable = VARIABLE + name
        if name.endswith(HOSTS) or name not in self._values:
            raise Refused(f"the credential {credential!r} has no value: set {variable}")
        value = self._values[name].reveal()
        if not value.isascii() or not value.isprintable() or not value or " " in value:
            raise Refused(f"{variable} holds blanks or characters that cannot be in a header")
        if not may_go_to(host, self._hosts.get(name, ())):
            raise Refused(
                f"the credential {credential!r} is not for {host}: "
                f'to send it there, set {variable}{HOSTS}="{host}"'
            )
        return value

    def __repr__(self) -> str:
        return f"Secrets({', '.join(sorted(self._values))})"
