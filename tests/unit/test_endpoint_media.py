"""What silence at the SFU's advertised addresses means, and which STUN servers harm."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils import endpoint_media
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_ice import (
    ANSWERED,
    NO_ROUTE,
    REFUSED,
    SILENT,
    Reach,
    Survey,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_signal import Advertisement, Candidate
from ansible_collections.matrixrtc.backend.plugins.module_utils.checks import FAIL, OK, SKIP, WARN
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_media import (
    media_checks,
    reach_check,
    stun_check,
    stun_place,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_token import Access
from endpoint_support import site

PUBLIC = "203.0.113.5"


def found(udp: str = ANSWERED, tcp: str = ANSWERED, address: str = PUBLIC) -> Survey:
    candidates = [Candidate(address, 7882, "udp", "host"), Candidate(address, 7881, "tcp", "host")]
    reaches = [Reach(candidates[0], udp, 0.001 if udp == ANSWERED else 0.0), Reach(candidates[1], tcp, 0.001)]
    return Survey(Advertisement("1.13.5", [], candidates), tuple(reaches))


def test_everything_answers() -> None:
    assert reach_check(site(), found(), "udp").status == OK
    assert reach_check(site(addresses=(PUBLIC,)), found(), "tcp").status == OK


@pytest.mark.parametrize("outcome", [SILENT, REFUSED])
def test_a_closed_udp_port_is_told_from_a_wrong_address_by_tcp(outcome: str) -> None:
    check = reach_check(site(), found(udp=outcome), "udp")
    assert check.status == FAIL
    assert "UDP 7882-7885 is closed: the address is right" in check.cause
    assert "host_firewall" in check.fix


def test_a_closed_tcp_port_has_its_own_effect() -> None:
    check = reach_check(site(), found(tcp=SILENT), "tcp")
    assert "TCP 7881 is closed" in check.cause
    assert "whose network blocks UDP cannot join" in check.cause


def test_silence_everywhere_is_a_wrong_address_or_two_closed_ports() -> None:
    check = reach_check(site(), found(SILENT, SILENT), "udp")
    assert "node_ip is not the address" in check.cause
    assert "matrixrtc_media_address" in check.fix


def test_silence_at_the_address_that_was_set_is_two_closed_ports() -> None:
    check = reach_check(site(addresses=(PUBLIC,)), found(SILENT, SILENT), "udp")
    assert "are both closed" in check.cause
    assert "node_ip" not in check.cause


def test_an_address_that_was_not_expected_is_wrong_even_if_it_answers() -> None:
    check = reach_check(site(addresses=("198.51.100.7",)), found(), "udp")
    assert check.status == FAIL
    assert "sends clients to 203.0.113.5 instead of 198.51.100.7" in check.cause


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.1.1", "fe80::1"])
def test_addresses_of_one_host_only_are_wrong(address: str) -> None:
    assert "no other host can reach" in reach_check(site(), found(address=address), "udp").cause


def test_no_address_at_all_is_wrong() -> None:
    assert "has no address to offer" in reach_check(site(), Survey(), "udp").cause


def test_a_protocol_that_is_not_offered_is_named() -> None:
    only_tcp = Survey(Advertisement("", [], found().heard.candidates[1:]), found().reaches[1:])
    assert "offers no UDP" in reach_check(site(), only_tcp, "udp").cause
    assert reach_check(replace(site(), tcp_port=0), found(), "tcp").status == SKIP


def test_a_family_without_a_route_is_not_judged() -> None:
    assert reach_check(site(), found(udp=NO_ROUTE), "udp").status == SKIP


def test_a_media_port_as_stun_server_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured: WebRTC drops media that comes from the address of a STUN server; calls fell back to TCP."""
    monkeypatch.setattr(
        endpoint_media, "resolved", lambda host: {PUBLIC} if host == "rtc.example.org" else set()
    )
    for url in (f"stun:{PUBLIC}:7885", "stun:rtc.example.org:7882?transport=udp"):
        check = stun_check(site(), Advertisement("", [url], found().heard.candidates))
        assert check.status == FAIL
        assert "throws media away" in check.cause
    for url in (
        "stun:rtc.example.org:3478",
        "stun:rtc.example.org",
        "stun:other.example.org:7882",
        "turn:rtc.example.org:7882",
    ):
        assert stun_check(site(), Advertisement("", [url], found().heard.candidates)).status == OK


def test_third_parties_are_named() -> None:
    urls = ["stun:global.stun.twilio.com:3478", "stun:stun.l.google.com:19302"]
    check = stun_check(site(), Advertisement("", urls, []))
    assert check.status == WARN
    assert "a third party its address" in check.cause
    assert stun_check(site(), Advertisement()).seen == "none"


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("stun:a.b:1", ("a.b", 1)),
        ("stun:a.b", ("a.b", 3478)),
        ("stun:[2001:db8::1]:5?transport=udp", ("2001:db8::1", 5)),
    ],
)
def test_stun_urls(url: str, place: tuple[str, int]) -> None:
    assert stun_place(url) == place


def test_an_sfu_that_lets_nobody_in_is_one_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        endpoint_media, "survey", lambda *_args: Survey(error="the SFU did not open a websocket: 404")
    )
    checks = media_checks(site(), Access("wss://a", "j"))
    assert [check.status for check in checks] == [FAIL, SKIP, SKIP]
    assert "404" in checks[0].seen


def test_the_sfus_version_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_media, "survey", lambda *_args: found())
    checks = media_checks(site(), Access("wss://a", "j"))
    assert {check.status for check in checks} == {OK}
    assert "LiveKit 1.13.5" in checks[0].seen
