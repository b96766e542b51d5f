"""The signature of webhooks, against vectors that were computed apart from this code."""

from __future__ import annotations

import base64

import pytest

from pipeline.whatsapp.signature import sign, sign_as_turn, verify_signature

SECRET = b"test-secret"
VECTORS = [
    (
        b'{"object":"whatsapp_business_account","entry":[]}',
        "sha256=cc96f69f5295238707076d443c89d5808d96b634779c922fab0ba9ca5354554e",
    ),
    (
        b'{"object": "whatsapp_business_account", "entry": []}',
        "sha256=8d114285d69cea8cf93757c5b05ab22d493c1a979be2e9e2671960b5dbc21d14",
    ),
    (
        '{"t":"äöå"}'.encode(),
        "sha256=2efdd73a6c50532fdb39602f87d0e0af615769a68b88c905b639609d1a042dce",
    ),
    (
        rb'{"t":"\u00e4\u00f6\u00e5"}',
        "sha256=22b813ae8748cab41039c709d365ecd9de32520a3d5703d778b71292ed0fb9b3",
    ),
]


@pytest.mark.parametrize(("raw", "header"), VECTORS)
def test_vectors(raw: bytes, header: str) -> None:
    """The exact bytes are signed: blanks and escapes make another signature."""
    assert sign(raw, SECRET) == header
    assert verify_signature(raw, header, [SECRET])


@pytest.mark.parametrize(
    "header", [None, "", "sha256=", "sha1=" + "0" * 40, VECTORS[0][1][7:], VECTORS[0][1] + "0", VECTORS[1][1], "ä"]
)
def test_wrong_header(header: str | None) -> None:
    """A missing, shortened, lengthened or foreign signature does not verify."""
    assert not verify_signature(VECTORS[0][0], header, [SECRET])


def test_any_live_secret_fits() -> None:
    """While a secret is exchanged both verify, wherever they stand."""
    raw, header = VECTORS[0]
    assert verify_signature(raw, header, [b"new", SECRET])
    assert verify_signature(raw, header, [SECRET, b"new"])
    assert not verify_signature(raw, header, [b"new", b"newer"])


def test_no_secret_never_fits() -> None:
    """Without a secret, or with an empty one, nothing verifies."""
    raw = VECTORS[0][0]
    assert not verify_signature(raw, VECTORS[0][1], [])
    assert not verify_signature(raw, sign(raw, b""), [b""])


def test_turns_signature_is_the_same_digest_in_base64() -> None:
    """A v1 webhook of Turn.io verifies by its own form of the signature, over the same bytes and secret."""
    raw, header = VECTORS[0]
    turns = base64.b64encode(bytes.fromhex(header.removeprefix("sha256="))).decode()
    assert sign_as_turn(raw, SECRET) == turns
    assert verify_signature(raw, turns, [b"new", SECRET])
    assert not verify_signature(raw + b" ", turns, [SECRET])
