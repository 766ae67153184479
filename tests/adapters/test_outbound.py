"""What may be called, and which secret may go where."""

import asyncio
import ipaddress

import pytest

from headway.adapters.outbound import (
    Audience,
    NotAllowed,
    Outbound,
    Secrets,
    inner,
    is_public,
    read_allow,
)
from headway.kernel.errors import Invalid, Refused
from headway.wire.origin import Origin

CLOSED = Outbound()
LOCAL = Outbound(loopback_open=True, own_ports=frozenset({8000}))


def allowed(outbound: Outbound, url: str, audience: Audience = Audience.PROVIDER) -> bool:
    try:
        outbound.check_url(url, audience=audience)
    except Invalid:
        return False
    return True


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.1",
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "168.63.129.16",
        "169.254.169.254",
        "172.31.255.255",
        "192.0.0.192",
        "192.168.1.1",
        "198.18.0.1",
        "203.0.113.9",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a00:1",
        "64:ff9b:1::a00:1",
        "100::1",
        "2001:db8::1",
        "2001:10::1",
        "2002:7f00:1::",
        "2002:a00:1::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_what_is_not_public_is_closed(address: str) -> None:
    with pytest.raises(NotAllowed):
        CLOSED.check(
            "https", "h.example", ipaddress.ip_address(address), 443, audience=Audience.PROVIDER
        )


def test_teredo_is_judged_by_both_ends_of_the_tunnel() -> None:
    # Server 65.54.227.120, client 192.0.2.45 (RFC 4380, obfuscated by XOR).
    teredo = ipaddress.ip_address("2001:0:4136:e378:8000:63bf:3fff:fdd2")
    assert [str(a) for a in inner(teredo)] == ["65.54.227.120", "192.0.2.45"]
    with pytest.raises(NotAllowed):
        CLOSED.check("https", "h.example", teredo, 443, audience=Audience.PROVIDER)


@pytest.mark.parametrize("address", ["8.8.8.8", "104.18.6.192", "2606:4700::6812:7c0"])
def test_public_addresses_are_open_to_https_only(address: str) -> None:
    found = ipaddress.ip_address(address)
    assert is_public(found)
    CLOSED.check("https", "h.example", found, 443, audience=Audience.PROVIDER)
    with pytest.raises(NotAllowed, match="use https"):
        CLOSED.check("http", "h.example", found, 80, audience=Audience.PROVIDER)


@pytest.mark.parametrize(
    "host",
    ["0x7f000001", "2130706433", "127.1", "0177.0.0.1", "\uff11\uff12\uff17.0.0.1", "127.0.0.1."],
)
def test_odd_ways_to_write_an_address_are_refused(host: str) -> None:
    assert not allowed(LOCAL, f"http://{host}:9000/v1")


def test_loopback_is_open_to_providers_while_headway_is_local() -> None:
    assert allowed(LOCAL, "http://127.0.0.1:11434/v1")
    assert allowed(LOCAL, "http://localhost:11434/v1")
    assert allowed(LOCAL, "http://[::1]:11434/v1")
    assert not allowed(LOCAL, "http://127.0.0.1:11434/v1", Audience.NOTIFIER)
    assert not allowed(CLOSED, "http://127.0.0.1:11434/v1")


def test_headways_own_port_is_closed_even_when_listed() -> None:
    listed = Outbound(
        allow=read_allow("127.0.0.1:8000"), loopback_open=True, own_ports=frozenset({8000})
    )
    assert not allowed(listed, "http://127.0.0.1:8000/v1")
    assert not allowed(listed, "http://localhost:8000/v1")


def test_refusal_prints_the_line_that_would_allow_it() -> None:
    with pytest.raises(Invalid, match=r'HEADWAY_OUTBOUND_ALLOW="10\.20\.1\.2:8000"'):
        CLOSED.check_url("http://10.20.1.2:8000/v1")
    with pytest.raises(Invalid, match=r'HEADWAY_OUTBOUND_ALLOW="vllm\.internal:8000"'):
        CLOSED.check_url("http://vllm.internal:8000/v1")
    with pytest.raises(Invalid, match=r'HEADWAY_OUTBOUND_ALLOW="\[fd00::1\]:8000"'):
        CLOSED.check_url("http://[fd00::1]:8000/v1")


def test_listed_networks_and_names_are_open_at_their_port_only() -> None:
    outbound = Outbound(allow=read_allow("10.20.0.0/16:8000, vllm.internal:8000,[fd00::/8]:81"))
    assert allowed(outbound, "http://10.20.3.4:8000/v1")
    assert not allowed(outbound, "http://10.20.3.4:8001/v1")
    assert not allowed(outbound, "http://10.21.3.4:8000/v1")
    assert allowed(outbound, "http://vllm.internal:8000/v1")
    assert allowed(outbound, "http://[fd00::7]:81/v1")
    private = ipaddress.ip_address("192.168.7.7")
    outbound.check("http", "VLLM.internal", private, 8000, audience=Audience.PROVIDER)


def test_link_local_and_metadata_addresses_cannot_be_opened() -> None:
    outbound = Outbound(allow=read_allow("169.254.0.0/16:80, meta.internal:80, [fe80::/10]:80"))
    for address in ("169.254.169.254", "fe80::1", "::ffff:169.254.169.254"):
        with pytest.raises(NotAllowed, match="never"):
            outbound.check(
                "http",
                "meta.internal",
                ipaddress.ip_address(address),
                80,
                audience=Audience.PROVIDER,
            )


@pytest.mark.parametrize(
    "text", ["10.0.0.0/8", "vllm.internal", "10.0.0.1:0", "fd00::/8:80", "127.1:80", "a b:80"]
)
def test_allow_list_that_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="HEADWAY_OUTBOUND_ALLOW"):
        read_allow(text)


@pytest.mark.parametrize(
    "url",
    ["https://user:pw@api.example.com/v1", "ftp://api.example.com", "https://", "https://a.b/#x"],
)
def test_urls_with_passwords_fragments_or_other_schemes_are_refused(url: str) -> None:
    assert not allowed(LOCAL, url)


def test_a_connection_goes_to_the_very_addresses_that_were_checked() -> None:
    route = asyncio.run(LOCAL.connect(Origin("http", "127.0.0.1", 9000)))
    assert route.addresses == (("127.0.0.1", 9000),)
    assert route.context is None
    secure = asyncio.run(CLOSED.connect(Origin("https", "8.8.8.8", 443)))
    assert secure.server_hostname == "8.8.8.8"
    assert secure.context is not None
    assert secure.context.check_hostname


def test_one_forbidden_address_of_a_name_forbids_the_name() -> None:
    with pytest.raises(NotAllowed):
        CLOSED._checked("https", "two.example", 443, ["8.8.8.8", "10.0.0.1"], Audience.NOTIFIER)
    with pytest.raises(NotAllowed):
        asyncio.run(CLOSED.connect(Origin("http", "localhost", 9000)))


def test_secret_goes_to_its_hosts_and_to_no_other() -> None:
    secrets = Secrets(
        {
            "HEADWAY_SECRET_OPENAI": "sk-canary",
            "HEADWAY_SECRET_MINE": "m-canary",
            "HEADWAY_SECRET_MINE_HOSTS": "127.0.0.1, *.mine.example",
            "DATABASE_PASSWORD": "never",
        }
    )
    assert secrets.value("openai", "api.openai.com") == "sk-canary"
    assert secrets.value("OpenAI", "eu.api.openai.com") == "sk-canary"
    assert secrets.value("mine", "a.mine.example") == "m-canary"
    for host in ("evil.example", "api.openai.com.evil.example", "xapi.openai.com"):
        with pytest.raises(Refused, match="HEADWAY_SECRET_OPENAI_HOSTS"):
            secrets.value("openai", host)
    with pytest.raises(Refused, match="set HEADWAY_SECRET_DATABASE_PASSWORD"):
        secrets.value("database_password", "api.openai.com")
    with pytest.raises(Refused):
        secrets.value("mine_hosts", "127.0.0.1")


def test_secrets_show_themselves_to_nobody() -> None:
    secrets = Secrets({"HEADWAY_SECRET_OPENAI": "sk-canary"})
    assert "canary" not in repr(secrets) + repr(vars(secrets))
    with pytest.raises(Refused) as refused:
        secrets.value("openai", "evil.example")
    assert "canary" not in str(refused.value)


def test_a_secret_that_would_break_a_header_is_refused() -> None:
    secrets = Secrets({"HEADWAY_SECRET_OPENAI": "sk-a\r\nx: y"})
    with pytest.raises(Refused, match="HEADWAY_SECRET_OPENAI holds"):
        secrets.value("openai", "api.openai.com")
