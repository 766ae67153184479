"""Keys: their form, their checksum, and what is kept of them."""

import re
import string
import zlib
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.auth.key import KEY_PATTERN, Key, Secret, digester
from headway.auth.role import Role
from headway.auth.rootkey import Purpose, RootKey
from headway.kernel.errors import Refused, Unauthenticated

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
ROOT = RootKey(bytes(range(32)))


def checksum(text: str) -> str:
    """Write the CRC-32 in base 62, most significant digit first."""
    number = zlib.crc32(text.encode())
    return "".join(BASE62[number // 62**place % 62] for place in range(5, -1, -1))


def test_a_key_has_the_form_that_scanners_look_for() -> None:
    secret = Secret.generate()

    assert re.fullmatch(KEY_PATTERN, secret.text)
    assert secret.text[3:11] == secret.id
    assert secret.text[-6:] == checksum(secret.text[:-6])
    assert Secret.parse(secret.text) == secret


def test_keys_are_made_of_chance() -> None:
    made = [Secret.generate() for _ in range(200)]

    assert len({secret.text[12:55] for secret in made}) == 200
    assert set("".join(secret.text[12:55] for secret in made)) == set(BASE62)


@given(st.integers(0, 59), st.sampled_from(BASE62 + "_-é \n"))
def test_one_wrong_character_is_noticed(place: int, char: str) -> None:
    text = Secret.generate().text
    wrong = text[:place] + char + text[place + 1 :]
    if wrong == text:
        return

    with pytest.raises(Unauthenticated):
        Secret.parse(wrong)


@given(st.text(max_size=70) | st.from_regex(KEY_PATTERN, fullmatch=True))
def test_any_text_is_a_key_only_if_its_checksum_is_right(text: str) -> None:
    try:
        Secret.parse(text)
    except Unauthenticated:
        return
    assert text[-6:] == checksum(text[:-6])


def test_a_key_never_shows_in_what_is_printed() -> None:
    secret = Secret.generate()
    key = Key("id", "name", Role.ADMIN, "d1gest", 0, "ada")

    assert secret.text[12:] not in repr(secret)
    assert "d1gest" not in repr(key)
    assert ROOT.text() not in repr(ROOT)


def test_the_digest_is_blake2b_with_a_key() -> None:
    digest = digester(b"k" * 32)

    assert digest("hw_x") == blake2b(b"hw_x", key=b"k" * 32, digest_size=32).hexdigest()
    assert digest("hw_x") == digest("hw_x")
    assert digester(b"l" * 32)("hw_x") != digest("hw_x")


@pytest.mark.parametrize(
    ("expires", "revoked", "now", "works"),
    [
        (None, None, 100, True),
        (101, None, 100, True),
        (100, None, 100, False),
        (None, 50, 100, False),
        (101, 50, 100, False),
    ],
)
def test_a_key_works_until_it_expires_or_is_revoked(
    *, expires: int | None, revoked: int | None, now: int, works: bool
) -> None:
    key = Key("id", "n", Role.CALLER, "d", 0, "a", expires_at=expires, revoked_at=revoked)

    assert key.works_at(now) is works


# The root key


@pytest.mark.parametrize(
    ("purpose", "expected"),
    [
        (Purpose.KEY_HASH, "602fda7a054eed3e9650edcdec72aa49804d42658e9f9ccb048f8e2bd692decf"),
        (Purpose.STAMP, "136ce469588a4710e4d445fcf0c4d42b917d5b14865199a0af27a7844014b021"),
    ],
)
def test_sub_keys_are_those_of_hkdf_with_the_purpose_as_label(
    purpose: Purpose, expected: str
) -> None:
    # As `cryptography` 50 derives them: HKDF(SHA256(), 32, salt=None, info=b"headway key-hash").
    assert ROOT.sub_key(purpose).hex() == expected


def test_each_purpose_has_a_key_of_its_own() -> None:
    keys = {ROOT.sub_key(purpose) for purpose in Purpose}

    assert len(keys) == len(Purpose)
    assert all(len(key) == 32 for key in keys)
    assert {p.value for p in Purpose} >= {"key-hash", "session", "seal", "audit", "hop", "stamp"}


def test_a_wrong_root_key_is_recognised() -> None:
    stored = ROOT.check_value()
    ROOT.verify(stored)

    with pytest.raises(Refused, match="HEADWAY_ROOT_KEY_FILE"):
        RootKey.generate().verify(stored)


@pytest.mark.parametrize(
    "text",
    [
        ROOT.text(),
        f"  {ROOT.text().upper()}\n",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
    ],
)
def test_a_root_key_is_read_as_hex_or_base64(text: str) -> None:
    assert RootKey.parse(text) == ROOT


@pytest.mark.parametrize("text", ["", "canary", "00" * 31, "canary+/" * 4, "zz" * 32])
def test_what_is_no_root_key_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(Refused) as refused:
        RootKey.parse(text)

    assert not text or text not in str(refused.value)
