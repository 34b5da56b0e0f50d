"""The registration of the token service: the same on both sides, private, proven before it is announced."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import yaml
from ansible_collections.matrixrtc.backend.plugins.module_utils import wiring_proof
from ansible_collections.matrixrtc.backend.plugins.module_utils.credentials import CredentialsError
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_wiring import GET_TOKEN
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import Response
from ansible_collections.matrixrtc.backend.plugins.module_utils.managed_files import ManagedFile
from ansible_collections.matrixrtc.backend.plugins.module_utils.registration import (
    Tokens,
    document,
    is_proven,
    provide,
    withdraw,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.wiring_proof import WiringError, prove
from endpoint_support import HOMESERVER, LIVEKIT, SERVER_NAME, FakeHttp, answer, refusal

SERVICE = "http://127.0.0.1:8080"
ONE, OTHER = "a" * 40, "b" * 40


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return Tokens(str(tmp_path / "matrixrtc" / "as_token"), str(tmp_path / "matrixrtc" / "hs_token"))


@pytest.fixture
def synapses(tmp_path: Path) -> ManagedFile:
    (tmp_path / "synapse").mkdir()
    return ManagedFile(str(tmp_path / "synapse" / "registration.yaml"), os.geteuid(), os.getegid(), 0o400)


@pytest.fixture
def services(tmp_path: Path) -> ManagedFile:
    return ManagedFile(
        str(tmp_path / "matrixrtc" / "jwt" / "registration.yaml"), os.geteuid(), os.getegid(), 0o640
    )


def mode(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


# The text --------------------------------------------------------------------------------------------


def test_keys_are_those_that_synapse_reads() -> None:
    """synapse/config/appservice.py: without their prefixes it says nothing, and answers 404."""
    assert yaml.safe_load(document(ONE, OTHER, "example.org", SERVICE)) == {
        "id": "matrixrtc-token-service",
        "as_token": ONE,
        "hs_token": OTHER,
        "sender_localpart": "_lk_jwt_service",
        "url": None,
        "rate_limited": False,
        "namespaces": {"users": [{"exclusive": False, "regex": r"@.*:example\.org"}]},
        "io.element.msc4502.scopes": ["urn:matrix:client:io.element.msc4502:rooms:is_joined"],
        "io.element.msc4512.proxy_prefix": "rtc/livekit",
        "io.element.msc4512.proxy_url": SERVICE,
    }


def test_tokens_of_any_punctuation_come_through() -> None:
    odd = "'\":#{}%\\!" * 4
    assert yaml.safe_load(document(odd, OTHER, "example.org", SERVICE))["as_token"] == odd


# The files -------------------------------------------------------------------------------------------


def test_both_sides_get_the_same_and_nobody_else(
    tokens: Tokens, services: ManagedFile, synapses: ManagedFile
) -> None:
    first, second = (provide(tokens, SERVER_NAME, SERVICE, file) for file in (services, synapses))
    assert (first.generated, second.generated) == (True, False)
    assert Path(services.path).read_bytes() == Path(synapses.path).read_bytes()
    assert (mode(services.path), mode(synapses.path)) == (0o640, 0o400)
    assert mode(tokens.path_as) == mode(tokens.path_hs) == 0o600
    assert Path(tokens.path_as).read_text() != Path(tokens.path_hs).read_text()
    for file in (services, synapses):
        assert not provide(tokens, SERVER_NAME, SERVICE, file).changed


def test_given_tokens_replace_those_that_were_made(tokens: Tokens, services: ManagedFile) -> None:
    provide(tokens, SERVER_NAME, SERVICE, services)
    given = Tokens(tokens.path_as, tokens.path_hs, ONE, OTHER)
    outcome = provide(given, SERVER_NAME, SERVICE, services)
    assert outcome.files == [tokens.path_as, tokens.path_hs, services.path]
    assert yaml.safe_load(Path(services.path).read_text())["hs_token"] == OTHER


def test_check_mode_writes_nothing(tokens: Tokens, services: ManagedFile, tmp_path: Path) -> None:
    assert provide(tokens, SERVER_NAME, SERVICE, services, dry=True).changed
    assert list(tmp_path.rglob("*")) == []
    provide(tokens, SERVER_NAME, SERVICE, services)
    assert not provide(tokens, SERVER_NAME, SERVICE, services, dry=True).changed


def test_short_token_on_the_host_is_refused_without_quoting_it(tokens: Tokens, services: ManagedFile) -> None:
    Path(tokens.path_as).parent.mkdir()
    Path(tokens.path_as).write_text("guessable")
    with pytest.raises(CredentialsError) as refusal_:
        provide(tokens, SERVER_NAME, SERVICE, services)
    assert tokens.path_as in str(refusal_.value)
    assert "guessable" not in str(refusal_.value)


def test_removal_leaves_nothing_but_the_homeservers_folder(
    tokens: Tokens, services: ManagedFile, synapses: ManagedFile, tmp_path: Path
) -> None:
    for file in (services, synapses):
        provide(tokens, SERVER_NAME, SERVICE, file)
    before = sorted(tmp_path.rglob("*"))
    assert withdraw(tokens, synapses.path, dry=True).changed
    assert sorted(tmp_path.rglob("*")) == before
    for file in (synapses, services):
        assert withdraw(tokens, file.path).changed
        assert not withdraw(tokens, file.path).changed
    assert Path(synapses.path).parent.is_dir(), "it was the operator's, although it is empty now"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_proof_holds_for_one_registration(tokens: Tokens, synapses: ManagedFile, tmp_path: Path) -> None:
    proof = tmp_path / "wired"
    assert is_proven(str(proof), provide(tokens, SERVER_NAME, SERVICE, synapses)) is False
    proof.touch()
    assert is_proven(str(proof), provide(tokens, SERVER_NAME, SERVICE, synapses)) is True
    moved = provide(tokens, SERVER_NAME, "http://127.0.0.1:8081", synapses, dry=True)
    assert is_proven(str(proof), moved, dry=True) is True
    assert is_proven(str(proof), provide(tokens, SERVER_NAME, "http://127.0.0.1:8081", synapses)) is False
    assert not proof.exists()


# The proof -------------------------------------------------------------------------------------------


def asked(*answers: Response) -> tuple[FakeHttp, list[dict[str, object]]]:
    """A homeserver that answers one after the other, the last one for good, and what it was asked."""
    rest, bodies = list(answers), []

    def reply(body: dict[str, object]) -> Response:
        bodies.append(body)
        return rest.pop(0) if len(rest) > 1 else rest[0]

    return FakeHttp(answers={("POST+", HOMESERVER + GET_TOKEN): reply}), bodies


def attempt(http: FakeHttp, tokens: Tokens, timeout: float = 1.0) -> None:
    prove(http, HOMESERVER, tokens.path_as, SERVER_NAME, LIVEKIT, timeout)


@pytest.fixture
def known(tokens: Tokens, synapses: ManagedFile, monkeypatch: pytest.MonkeyPatch) -> Tokens:
    """Tokens that are on the host."""
    provide(tokens, SERVER_NAME, SERVICE, synapses)
    monkeypatch.setattr(wiring_proof, "PAUSE", 0.01)
    return tokens


def test_the_way_is_sound_when_it_ends_with_who_is_in_the_room(known: Tokens) -> None:
    http, bodies = asked(refusal(403, "M_FORBIDDEN"))
    attempt(http, known)
    (body,) = bodies
    assert (body["url"], body["room_id"]) == (LIVEKIT, f"!matrixrtc-proof:{SERVER_NAME}")


def test_services_that_just_started_get_time(known: Tokens) -> None:
    http, bodies = asked(refusal(500, "M_UNKNOWN"), refusal(502, "M_UNKNOWN"), refusal(403, "M_FORBIDDEN"))
    attempt(http, known)
    assert len(bodies) == 3


@pytest.mark.parametrize(
    ("status", "code", "cause"),
    [
        (404, "M_UNRECOGNIZED", "msc4512_enabled is off"),
        (401, "M_UNKNOWN_TOKEN", "its hs_token is another"),
        (400, "M_INVALID_PARAM", "not LIVEKIT_URL, character by character"),
        (500, "M_UNKNOWN", "does not reach the token service"),
        (502, "M_UNKNOWN", "msc4502_enabled is off"),
        (418, "M_TEAPOT", "something else than the token service answers"),
        (200, "", "something else than the token service answers"),
    ],
)
def test_a_way_that_is_not_sound_is_explained(known: Tokens, status: int, code: str, cause: str) -> None:
    http, _bodies = asked(refusal(status, code) if code else answer(status, {}))
    with pytest.raises(WiringError) as found:
        attempt(http, known, timeout=0.05)
    assert f"HTTP {status}" in str(found.value)
    assert cause in str(found.value)
    assert Path(known.path_as).read_text().strip() not in str(found.value)
