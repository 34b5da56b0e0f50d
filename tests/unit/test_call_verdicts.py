"""What the participants saw is judged: that something arrives is not enough."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_figures import Figures, Media
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_ice import (
    ANSWERED,
    SILENT,
    Reach,
    Survey,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_media import (
    Report,
    report_from,
    without_tokens,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_signal import Advertisement, Candidate
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_stats import Path, Received
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_verdicts import (
    accounts_verdict,
    discovery_verdict,
    leave_verdict,
    media_verdicts,
    membership_verdict,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.checks import FAIL, OK, SKIP, WARN, Check
from ansible_collections.matrixrtc.backend.plugins.module_utils.matrix_client import Account, MatrixError
from endpoint_support import SERVICE, SFU, answer, broken, refusal, site

PUBLIC = "203.0.113.5"
CANDIDATES = [Candidate(PUBLIC, 7882, "udp", "host"), Candidate(PUBLIC, 7881, "tcp", "host")]


def path(protocol: str = "udp", kind: str = "host", address: str = PUBLIC) -> Path:
    remote = f"{protocol} {address}:7882 ({kind})"
    return Path("udp 192.0.2.1:5000 (host)", remote, address, 7882, kind, protocol, 0.001)


def report(name: str, **changes: Any) -> Report:
    healthy = Report(
        name,
        connected=0.2,
        first_frame=0.5,
        first_tone=0.6,
        frames=45,
        tone_seconds=3.0,
        encrypted_tracks=2,
        video=Received(60, 0, 45),
        audio=Received(150),
        paths=[path()],
    )
    return replace(healthy, **changes)


def survey(udp: str = ANSWERED, tcp: str = ANSWERED) -> Survey:
    reaches = [Reach(CANDIDATES[0], udp, 0.001), Reach(CANDIDATES[1], tcp, 0.001)]
    return Survey(Advertisement("1.13.5", ["stun:a.b:3478"], CANDIDATES), tuple(reaches))


def call(
    force_tcp: bool = False,
    spied: bool = True,
    found: Survey | None = None,
    spy: Report | None = None,
    addresses: tuple[str, ...] = (),
    **changes: Any,
) -> dict[str, Check]:
    """The verdicts of a call in which the second user's report differs from a healthy one."""
    listener = spy or Report("spy", video=Received(120), audio=Received(300))
    media = Media([report("@a:b"), report("@c:d", **changes)], listener, found or survey())
    checks = media_verdicts(site(addresses=addresses), media, 3.0, force_tcp, spied)
    return {check.id: check for check in checks}


def test_a_healthy_call() -> None:
    checks = call()
    assert {check.status for check in checks.values()} == {OK}
    assert list(checks) == ["call_connected", "call_video", "call_audio", "call_encryption", "call_path"]
    assert checks["call_connected"].seconds == 0.2
    assert checks["call_video"].seconds == 0.5


@pytest.mark.parametrize(
    ("changes", "check_id", "status", "said"),
    [
        ({"frames": 0, "video": Received()}, "call_video", FAIL, "no packet of the picture arrived"),
        ({"frames": 0, "strange": 40}, "call_video", FAIL, "but not the picture that was sent"),
        ({"frames": 10}, "call_video", WARN, "lost or late"),
        ({"video": Received(90, 10, 45)}, "call_video", WARN, "lost or late"),
        ({"tone_seconds": 0.0}, "call_audio", FAIL, "no sound arrived"),
        ({"tone_seconds": 0.0, "other_sound_seconds": 3.0}, "call_audio", FAIL, "not the tone that was sent"),
        ({"plain_tracks": 1}, "call_encryption", FAIL, "sent without encryption"),
        ({"encrypted_tracks": 0}, "call_encryption", FAIL, "sent without encryption"),
        ({"paths": []}, "call_path", FAIL, "no selected candidate pair"),
        ({"paths": [path("tcp")]}, "call_path", FAIL, "does not go over UDP: UDP 7882-7885 is closed"),
        ({"paths": [path(kind="prflx", address="")]}, "call_path", WARN, "address translation"),
        ({"paths": [path(kind="prflx")]}, "call_path", WARN, "address translation"),
        ({"paths": [path(address="198.51.100.7")]}, "call_path", WARN, "address translation"),
    ],
)
def test_what_one_user_saw_decides(changes: dict[str, Any], check_id: str, status: str, said: str) -> None:
    checks = call(**changes)
    assert checks[check_id].status == status
    assert said in checks[check_id].cause
    assert {check.id for check in checks.values() if check.status != OK} == {check_id}


@pytest.mark.parametrize(
    ("spy", "status", "said"),
    [
        (Report("spy", frames=1, video=Received(60)), FAIL, "not encrypted end to end"),
        (Report("spy", tone_seconds=0.2, video=Received(60)), FAIL, "not encrypted end to end"),
        (Report("spy"), WARN, "no packets reached"),
        (Report("spy", error="refused"), WARN, "refused"),
    ],
)
def test_somebody_without_the_keys_must_get_packets_and_nothing_else(
    spy: Report, status: str, said: str
) -> None:
    check = call(spy=spy)["call_encryption"]
    assert check.status == status
    assert said in check.cause


def test_without_listening_in_the_senders_word_is_taken() -> None:
    assert "not tried without the keys" in call(spied=False)["call_encryption"].seen


def test_a_call_that_works_only_on_this_network_fails() -> None:
    """The media flows, but a stranger's packets are not let in: the SFU's own packets opened the way."""
    check = call(found=survey(udp=SILENT))["call_path"]
    assert check.status == FAIL
    assert "UDP 7882-7885 is closed" in check.cause


def test_a_wrong_advertised_address_fails_although_media_flows() -> None:
    checks = call(found=survey(SILENT, SILENT), paths=[path(kind="prflx", address="")])
    assert checks["call_video"].status == OK
    assert "node_ip" in checks["call_path"].cause
    assert "node_ip is wrong" in call(addresses=("198.51.100.7",))["call_path"].cause


def test_a_media_port_as_stun_server_fails() -> None:
    found = survey()
    found.heard.ice_servers[:] = [f"stun:{PUBLIC}:7882"]
    check = call(found=found)["call_path"]
    assert "throws media away" in check.cause


def test_forced_tcp_wants_tcp() -> None:
    tcp = [path("tcp")]
    media = Media([report("a", paths=tcp), report("b", paths=tcp)], None, survey())
    checks = {
        check.id: check
        for check in media_verdicts(site(), media, 3.0, force_tcp=True, prove_encryption=False)
    }
    assert checks["call_path"].status == OK
    media = Media([report("a", paths=tcp), report("b")], None, survey())
    checks = {
        check.id: check
        for check in media_verdicts(site(), media, 3.0, force_tcp=True, prove_encryption=False)
    }
    assert "does not go over TCP: TCP 7881" in checks["call_path"].cause


@pytest.mark.parametrize(
    ("found", "force_tcp", "said"),
    [
        (survey(SILENT, SILENT), False, "nobody answers at"),
        (survey(tcp=SILENT), True, "TCP 7881 is closed"),
        (survey(), False, "no media connection came about"),
        (Survey(), False, "no address to offer"),
    ],
)
def test_why_nobody_is_connected(found: Survey, force_tcp: bool, said: str) -> None:
    checks = call(found=found, force_tcp=force_tcp, error="no connection after 12 s")
    assert checks["call_connected"].status == FAIL
    assert said in checks["call_connected"].cause
    assert {
        checks[check_id].status for check_id in ("call_video", "call_audio", "call_encryption", "call_path")
    } == {SKIP}


def test_a_refused_websocket_is_traced_to_the_proxy() -> None:
    http = broken(("GET", f"{SFU}/rtc", answer(404)), ("GET", f"{SFU}/rtc/v1", answer(404)))
    media = Media(
        [report("a", error="handshake error: 404"), report("b")], None, Survey(error="404 Not Found")
    )
    check = media_verdicts(site(http), media, 3.0, False, True)[0]
    assert "does not pass the websocket upgrade" in check.cause
    check = media_verdicts(site(), media, 3.0, False, True)[0]
    assert "with a valid token" in check.cause


def test_accounts() -> None:
    good = [Account("@a:example.org", "X"), Account("@b:example.org", "Y")]
    assert accounts_verdict(site(), good, ("@a:example.org", "")).status == OK
    assert accounts_verdict(site(), [good[0], Account("@a:example.org", "Z")], ()).status == OK
    for accounts, user_ids, said in (
        ([good[0], Account("@b:other.org", "Y")], (), "is not a user of example.org"),
        ([good[0], Account("@b:example.org", "")], (), "without a device"),
        ([good[0], good[0]], (), "of one device"),
        (good, ("@c:example.org",), ""),
    ):
        check = accounts_verdict(site(), accounts, user_ids)
        assert check.status == FAIL
        assert said in check.cause


@pytest.mark.parametrize(
    ("lists", "well_known", "status", "said"),
    [
        ([[SERVICE], [SERVICE]], [SERVICE], OK, ""),
        ([[SERVICE], [SERVICE]], [], WARN, "older clients"),
        ([[], []], [SERVICE], FAIL, "matrix_rtc.transports is empty"),
        ([[SERVICE], []], [SERVICE], FAIL, "a homeserver worker"),
        ([[SERVICE], ["https://o"]], [SERVICE], FAIL, "a homeserver worker"),
        ([["https://o"]] * 2, ["https://o"], FAIL, "another SFU"),
        ([[SERVICE], [SERVICE]], ["https://o"], FAIL, "differ"),
    ],
)
def test_both_announcements_have_to_agree(
    lists: list[list[str]], well_known: list[str], status: str, said: str
) -> None:
    entries = [[{"type": "livekit", "livekit_service_url": url} for url in urls] for urls in lists]
    check = discovery_verdict(site(), entries, well_known, None)
    assert check.status == status
    assert said in check.cause


def test_an_endpoint_that_is_off_is_named() -> None:
    error = MatrixError("asking", refusal(404, "M_UNRECOGNIZED"))
    assert "msc4143_enabled is off" in discovery_verdict(site(), [], [SERVICE], error).cause


def test_memberships() -> None:
    assert membership_verdict(site(), 3_600_000, None).seen == "leaves scheduled 3600 s ahead"
    assert membership_verdict(site(), 0, None).status == WARN
    assert (
        membership_verdict(site(), 1, MatrixError("writing", refusal(429, "M_LIMIT_EXCEEDED"))).status == FAIL
    )


def test_leaves() -> None:
    assert leave_verdict(False, 0.1, 5.0, False).status == OK
    assert "killed" in leave_verdict(False, 21.0, 40.0, True).seen
    late = leave_verdict(False, 5.03, 5.0, False)
    assert late.status == FAIL
    assert "signs it with another key" in late.cause
    assert "sent too early" in leave_verdict(True, 0.0, 5.0, False).cause


def test_figures_are_those_of_the_slower_user() -> None:
    figures = Figures()
    figures.take(
        Media([report("a"), report("b", connected=0.4, video=Received(50, 10, 45), missed=2)], None, survey())
    )
    assert (figures.time_to_connected, figures.frames, figures.frames_missed) == (0.4, 90, 2)
    assert (figures.packets, figures.loss) == (410, round(10 / 420, 4))
    assert figures.round_trip == 0.001
    assert figures.candidate_pairs[0]["remote_port"] == 7882
    assert figures.advertised == [f"udp {PUBLIC}:7882 (host)", f"tcp {PUBLIC}:7881 (host)"]


def test_a_report_survives_the_way_from_another_process() -> None:
    import json
    from dataclasses import asdict

    assert report_from(json.loads(json.dumps(asdict(report("a"))))) == report("a")


def test_no_token_is_quoted_in_an_error() -> None:
    text = (
        "error sending request for url"
        " (wss://a.b/rtc?x=1&access_token=eyJh.eyJi.c-_d&join_request=AbC%3D&y=2): refused"
    )
    assert (
        without_tokens(text)
        == "error sending request for url (wss://a.b/rtc?x=1&access_token=***&join_request=***&y=2): refused"
    )
