"""Tokens are read without a key, and names are made as lk-jwt-service and Go make them."""

from __future__ import annotations

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_token import (
    TokenError,
    decode_token,
    go_json,
    livekit_room,
    member_identity,
    same_url,
    token_problems,
)
from endpoint_support import jwt


def test_a_token_is_decoded() -> None:
    token = decode_token(jwt("@a:b:C", "room", publish=True))
    assert (token.identity, token.room, token.issuer) == ("@a:b:C", "room", "matrixrtc")
    assert token.can_publish
    assert token.expires - token.not_before == 3600
    assert token_problems(token, "room", "@a:b:C") == []


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c", "e30.!!!.x", "e30.bm9uc2Vuc2U.x", "e30.W10.x"])
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(TokenError):
        decode_token(text)


def test_every_wrong_grant_is_named() -> None:
    wrong = token_problems(decode_token(jwt("me", "here", publish=False, lifetime=60)), "there", "you")
    assert len(wrong) == 4
    assert (
        token_problems(decode_token(jwt("me", "here", publish=False)), "here", "me", full_access=False) == []
    )


def test_a_missing_permission_to_publish_means_yes_as_in_livekit() -> None:
    assert decode_token("e30.eyJ2aWRlbyI6e319.x").can_publish  # {"video":{}}
    assert not decode_token("e30.eyJ2aWRlbyI6eyJjYW5QdWJsaXNoIjpmYWxzZX19.x").can_publish


def test_json_is_gos() -> None:
    assert go_json(["<a>&\u2028", "ü"]) == '["\\u003ca\\u003e\\u0026\\u2028","ü"]'


def test_names_are_unpadded_hashes() -> None:
    """Computed with sha256sum and base64 from the text '["!r:s","m.call#ROOM"]'."""
    assert livekit_room("!r:s") == "rD/Gfxr3JBKK+7Z9xlG6SQ5Mi51AcrpWF6VeOfP44lU"
    assert member_identity("@u:s", "D", "m") == "KLjPBMbG2PeKbiSIrYDsfc+v3163yKLKaNqwa9jDeGw"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("wss://a.b/sfu", "wss://a.b:443/sfu/", True),
        ("wss://A.b/sfu", "wss://a.b/sfu", True),
        ("wss://a.b/sfu", "ws://a.b/sfu", False),
        ("wss://a.b/sfu", "wss://a.b/", False),
        ("", "wss://a.b/sfu", False),
    ],
)
def test_urls_are_compared_by_where_they_lead(one: str, other: str, same: bool) -> None:
    assert same_url(one, other) is same
