"""Providers behind TLS: whose roots are believed, for which name, and what happens otherwise."""

import datetime as dt
import http.client
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from headway.adapters.outbound import Outbound, tls_context
from headway.testing.gateway import RunningGateway, document, key_entry, route_of

from .conftest import prepare
from .test_chat_traffic import HELLO

COMPLETION = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    ],
}


class Authority:
    """A certificate authority of this test alone."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = (
            self._builder(self._name, self._key.public_key())
            .issuer_name(self._name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.roots = folder / f"{name}.pem"
        """What HEADWAY_OUTBOUND_CA is set to."""
        self.roots.write_bytes(certificate.public_bytes(Encoding.PEM))

    def _builder(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        begins: dt.timedelta = dt.timedelta(hours=-1),
    ) -> Any:  # noqa: ANN401 - a builder
        """Begin a certificate that is valid for two hours from `begins` on, seen from now."""
        begin = dt.datetime.now(dt.UTC) + begins
        authority = self._key.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + dt.timedelta(hours=2))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority), critical=False
            )
        )

    def context(
        self,
        name: x509.GeneralName,
        *,
        begins: dt.timedelta = dt.timedelta(hours=-1),
        signer: ec.EllipticCurvePrivateKey | None = None,
    ) -> ssl.SSLContext:
        """Return what a server of that name presents; it may have signed it itself."""
        key = signer or ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        certificate = (
            self._builder(subject, key.public_key(), begins)
            .issuer_name(subject if signer else self._name)
            .add_extension(x509.SubjectAlternativeName([name]), critical=False)
            .sign(signer or self._key, hashes.SHA256())
        )
        both = self._folder / "server.pem"
        both.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + certificate.public_bytes(Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(both)
        return context


@dataclass
class Seen:
    """What a provider behind TLS was told."""

    port: int = 0
    asked: list[str | None] = field(default_factory=list)
    """The names in the handshakes."""
    hosts: list[str | None] = field(default_factory=list)
    versions: set[str | None] = field(default_factory=set)
    resumed: list[bool | None] = field(default_factory=list)
    """Of each request: whether its connection took up an earlier session."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of callers that leave."""


@contextmanager
def provider(
    context: ssl.SSLContext, *, redirect: bool = False, keep: bool = True
) -> Iterator[Seen]:
    seen = Seen()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            seen.hosts.append(self.headers["host"])
            seen.versions.add(self.connection.version())
            seen.resumed.append(self.connection.session_reused)
            body = json.dumps(COMPLETION).encode()
            if redirect:
                self.send_response(307)
                self.send_header("Location", f"https://localhost:{seen.port}/elsewhere")
            else:
                self.send_response(200)
            if not keep:
                self.send_header("Connection", "close")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    def named(_socket: object, name: str | None, _context: object) -> None:
        seen.asked.append(name)

    context.sni_callback = named
    server = _Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    seen.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def gateway(base_url: str, roots: Path | None, *, plain: bool = False) -> Iterator[RunningGateway]:
    guard = Outbound(loopback_open=True, tls=tls_context(roots) if roots else None)
    with RunningGateway(prepare=prepare(), connect=guard.connect, plain=plain) as running:
        target: dict[str, Any] = {
            "provider": "openai",
            "base_url": base_url,
            "model": "m",
            "retries": 0,
        }
        running.adopt(
            document(
                keys=[key_entry(running.key, running.digest)],
                versions={("bot", "1.0.0"): target},
                routes=[route_of("bot", [("stable", "1.0.0", 10_000)])],
            )
        )
        yield running
        assert running.faults == []


def ask(running: RunningGateway) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
    headers = {"authorization": f"Bearer {running.key}"}
    body = json.dumps({"model": "bot", "messages": HELLO})
    connection.request("POST", "/v1/chat/completions", body, headers)
    answer = connection.getresponse()
    read = json.loads(answer.read())
    connection.close()
    return answer.status, read


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


LOCALHOST = x509.DNSName("localhost")


def test_roots_of_ones_own_are_believed_and_name_and_host_stay_what_the_url_says(
    authority: Authority,
) -> None:
    with (
        provider(authority.context(LOCALHOST)) as seen,
        gateway(f"https://localhost:{seen.port}/v1", authority.roots) as running,
    ):
        assert [ask(running)[0] for _ in range(3)] == [200, 200, 200]
        assert running.outcomes() == {"1.0.0": {"ok": 3}}
    assert seen.asked == ["localhost"]  # one handshake: the connection is kept
    assert set(seen.hosts) == {f"localhost:{seen.port}"}
    assert seen.versions <= {"TLSv1.2", "TLSv1.3"}


def test_an_address_is_checked_against_the_certificate_too(authority: Authority) -> None:
    with (
        provider(authority.context(x509.IPAddress(IPv4Address("127.0.0.1")))) as seen,
        gateway(f"https://127.0.0.1:{seen.port}/v1", authority.roots) as running,
    ):
        assert ask(running)[0] == 200
    with (
        provider(authority.context(LOCALHOST)) as seen,
        gateway(f"https://127.0.0.1:{seen.port}/v1", authority.roots) as running,
    ):
        assert ask(running)[0] == 502
    assert seen.hosts == []


@pytest.mark.parametrize(
    "why", ["unknown authority", "another name", "expired", "not valid yet", "signed by itself"]
)
def test_a_provider_that_cannot_be_believed_hears_nothing_of_the_request(
    tmp_path: Path, authority: Authority, why: str
) -> None:
    roots: Path | None = authority.roots
    name: x509.GeneralName = LOCALHOST
    presented: dict[str, Any] = {
        "expired": {"begins": dt.timedelta(hours=-3)},
        "not valid yet": {"begins": dt.timedelta(hours=1)},
        "signed by itself": {"signer": ec.generate_private_key(ec.SECP256R1())},
    }
    if why == "unknown authority":
        roots = Authority(tmp_path, "theirs").roots
    if why == "another name":
        name = x509.DNSName("localhost.example.com")
    with (
        provider(authority.context(name, **presented.get(why, {}))) as seen,
        gateway(f"https://localhost:{seen.port}/v1", roots) as running,
    ):
        status, answer = ask(running)
        assert status == 502
        assert "cannot be reached securely" in answer["error"]["message"]
        assert running.outcomes() == {"1.0.0": {"provider": 1}}
    assert seen.hosts == []


def test_without_further_roots_only_the_systems_are_believed(authority: Authority) -> None:
    with (
        provider(authority.context(LOCALHOST)) as seen,
        gateway(f"https://localhost:{seen.port}/v1", None) as running,
    ):
        status, answer = ask(running)
    assert status == 502
    assert "cannot be reached securely" in answer["error"]["message"]
    assert seen.hosts == []


def test_a_redirect_is_never_followed(authority: Authority) -> None:
    with (
        provider(authority.context(LOCALHOST), redirect=True) as seen,
        gateway(f"https://localhost:{seen.port}/v1", authority.roots) as running,
    ):
        status, answer = ask(running)
        assert status == 502
        assert "elsewhere" not in json.dumps(answer)
        assert running.outcomes() == {"1.0.0": {"provider": 1}}
    assert len(seen.hosts) == 1


def test_certificates_and_names_are_always_checked_and_old_tls_is_not_spoken() -> None:
    context = tls_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("plain", [False, True], ids=["uvloop", "asyncio"])
def test_a_further_connection_takes_up_the_session_of_the_last_one(
    authority: Authority, newest: ssl.TLSVersion, *, plain: bool
) -> None:
    context = authority.context(LOCALHOST)
    context.maximum_version = newest
    with (
        provider(context, keep=False) as seen,
        gateway(f"https://localhost:{seen.port}/v1", authority.roots, plain=plain) as running,
    ):
        assert [ask(running)[0] for _ in range(4)] == [200] * 4
    assert seen.resumed == [False, True, True, True]


def test_a_session_is_no_way_round_the_certificate(tmp_path: Path, authority: Authority) -> None:
    context = tls_context(authority.roots)
    with (
        provider(authority.context(LOCALHOST), keep=False) as seen,
        gateway(f"https://localhost:{seen.port}/v1", authority.roots) as running,
    ):
        assert ask(running)[0] == 200
    with (
        provider(Authority(tmp_path, "theirs").context(LOCALHOST)) as other,
        gateway(f"https://localhost:{other.port}/v1", authority.roots) as running,
    ):
        assert ask(running)[0] == 502
    assert other.hosts == []
    assert tls_context(authority.roots) is context  # sessions were there to be tried
