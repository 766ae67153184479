"""Artifacts, as a user's script meets them."""

import base64
import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from tests.web.world import Api, MakeApi, World

from headway.adapters.stores.local import LocalStore
from headway.artifacts.artifact import Corrupt, Digest

DATA = b"0123456789" * 100
HEX = hashlib.sha256(DATA).hexdigest()
CONTENT_DIGEST = "sha-256=:" + base64.b64encode(bytes.fromhex(HEX)).decode() + ":"
PATH = f"/artifacts/sha256:{HEX}"


@pytest.fixture
def stored(admin: Api) -> Api:
    admin.done("POST", "/artifacts", data=DATA)
    return admin


def test_the_same_bytes_again_are_the_same_artifact(admin: Api) -> None:
    first, second = (admin("POST", "/artifacts", data=DATA) for _ in range(2))

    assert (first.status_code, second.status_code) == (201, 200)
    assert first.get_json() == second.get_json()
    assert first.get_json()["digest"] == f"sha256:{HEX}"
    assert first.get_json()["size"] == 1000


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        ("Content-Digest", CONTENT_DIGEST, 201),
        ("Content-Digest", f"sha-512=:AAAA:, {CONTENT_DIGEST}", 201),
        ("Digest", CONTENT_DIGEST.replace(":", ""), 201),
        ("Content-Digest", "sha-256=:" + "A" * 43 + "=:", 422),
        ("Content-Digest", "sha-512=:AAAA:", 422),
        ("Content-Digest", "md5", 422),
    ],
)
def test_what_the_sender_says_of_the_bytes_is_checked(
    admin: Api, field: str, value: str, status: int
) -> None:
    assert admin("POST", "/artifacts", data=DATA, headers={field: value}).status_code == status
    assert admin("GET", PATH).status_code == (200 if status == 201 else 404)


@pytest.mark.parametrize(
    ("asked", "status", "body", "told"),
    [
        (None, 200, DATA, None),
        ("bytes=0-9", 206, b"0123456789", "bytes 0-9/1000"),
        ("bytes=990-", 206, b"0123456789", "bytes 990-999/1000"),
        ("bytes=-5", 206, b"56789", "bytes 995-999/1000"),
        ("bytes=0-1,4-5", 200, DATA, None),
        ("lines=1-2", 200, DATA, None),
        ("bytes=1000-", 416, None, "bytes */1000"),
        ("bytes=-1001", 206, DATA, "bytes 0-999/1000"),
    ],
)
def test_a_part_of_a_file_can_be_asked_for(
    stored: Api, asked: str | None, status: int, body: bytes | None, told: str | None
) -> None:
    answer = stored("GET", PATH, headers={"Range": asked} if asked else {})

    assert answer.status_code == status
    assert answer.headers.get("Content-Range") == told
    if body is not None:
        assert answer.get_data() == body
        assert answer.headers["Content-Length"] == str(len(body))


def test_a_part_of_another_file_is_never_given(stored: Api) -> None:
    head = {"Range": "bytes=0-9", "If-Range": '"sha256:other"'}
    assert stored("GET", PATH, headers=head).status_code == 200


def test_head_tells_the_size_without_the_bytes(stored: Api) -> None:
    answer = stored("HEAD", PATH)
    assert (answer.status_code, answer.headers["Content-Length"]) == (200, "1000")
    assert answer.get_data() == b""


def test_head_tells_the_whole_size_whatever_part_is_asked_for(stored: Api) -> None:
    answer = stored("HEAD", PATH, headers={"Range": "bytes=0-9"})

    assert (answer.status_code, answer.headers["Content-Length"]) == (200, "1000")


def test_a_piece_of_a_file_is_not_taken_for_the_file(admin: Api) -> None:
    head = {"Content-Range": "bytes 0-99/1000"}

    assert admin("POST", "/artifacts", data=DATA[:100], headers=head).status_code == 422


def test_an_upload_beyond_the_limit_is_refused(admin: Api) -> None:
    assert admin("POST", "/artifacts", data=b"x" * ((1 << 20) + 1)).status_code == 413


def test_an_upload_of_unknown_length_is_cut_at_the_limit(app: Flask, world: World) -> None:
    body = io.BytesIO(b"x" * (3 << 20))
    environment = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/api/v1/artifacts",
        "SERVER_NAME": "control",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "wsgi.input": body,
        "wsgi.input_terminated": True,
        "HTTP_TRANSFER_ENCODING": "chunked",
        "HTTP_AUTHORIZATION": f"Bearer {world.key('deployer')}",
    }
    status: list[str] = []

    def start(said: str, *_: object) -> Callable[[bytes], object]:
        status.append(said)
        return status.append  # type: ignore[return-value]  # nobody writes to it

    list(app.wsgi_app(environment, start))

    assert status[0].startswith("413")
    assert body.tell() < 2 << 20


def test_files_that_run_code_are_refused(admin: Api) -> None:
    assert admin("POST", "/artifacts", data=b"\x80\x04\x95\x00\x00").status_code == 415
    assert admin("POST", "/artifacts", data=b"").status_code == 422


def test_who_may_only_look_uploads_nothing(api: MakeApi) -> None:
    assert api("viewer")("POST", "/artifacts", data=DATA).status_code == 403
    assert api("caller")("GET", PATH).status_code == 403


def register(admin: Api, model: str) -> None:
    admin.done("POST", "/models", {"name": model})
    target = {"runtime": "onnx", "artifact": f"sha256:{HEX}"}
    admin.done("POST", f"/models/{model}/versions", {"version": "1.0.0", "target": target})


def test_a_file_that_no_version_needs_can_be_removed(stored: Api) -> None:
    assert stored("DELETE", PATH).status_code == 204
    assert stored("GET", PATH).status_code == 404
    assert stored("DELETE", PATH).status_code == 404


def test_a_file_that_a_version_needs_stays(stored: Api) -> None:
    register(stored, "digits")
    refused = stored("DELETE", PATH)

    assert refused.status_code == 409
    assert refused.get_json()["stands_in_the_way"] == "digits@1.0.0"
    assert stored("GET", PATH).status_code == 200


def test_who_may_not_see_a_model_does_not_learn_that_it_needs_a_file(
    stored: Api, api: MakeApi
) -> None:
    register(stored, "secret")
    refused = api("deployer", models=("digits",))("DELETE", PATH)

    assert refused.status_code == 409
    assert "secret" not in refused.get_data(as_text=True)
    assert "1 versions of other models" in refused.get_data(as_text=True)


def test_bytes_that_the_disk_changed_are_never_given_whole(stored: Api, tmp_path: Path) -> None:
    path = LocalStore(tmp_path / "artifacts").path(Digest(HEX))
    path.chmod(0o600)
    path.write_bytes(DATA[:-1] + b"?")
    with pytest.raises(Corrupt):  # the server cuts the answer off: its head has gone out
        stored("GET", PATH)

    refused = stored("GET", PATH)
    assert refused.status_code == 422
    assert "upload the right ones again" in refused.get_json()["detail"]
    # A part is what stands there: nobody can tell whether it is right.
    assert stored("GET", PATH, headers={"Range": "bytes=990-"}).data == DATA[990:-1] + b"?"
    stored.done("POST", "/artifacts", data=DATA)
    assert stored("GET", PATH).data == DATA


def test_an_artifact_and_its_versions_tell_that_they_are_corrupt(
    stored: Api, world: World, tmp_path: Path
) -> None:
    register(stored, "digits")
    path = LocalStore(tmp_path / "artifacts").path(Digest(HEX))
    path.chmod(0o600)
    path.write_bytes(DATA[::-1])
    world.services.artifacts.look_again(f"sha256:{HEX}")

    shown = stored.done("GET", "/models/digits/versions/1.0.0")
    assert (shown["corrupt_at"], shown["state"]) == ("2026-01-01T00:00:00.000Z", "active")
    assert "deploy" not in shown["links"]
    assert stored.done("POST", "/artifacts", data=DATA)["corrupt_at"] is None
    shown = stored.done("GET", "/models/digits/versions/1.0.0")
    assert shown["corrupt_at"] is None
    assert "deploy" in shown["links"]
