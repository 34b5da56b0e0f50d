"""Faults that are hard to bring about for real are told all the same: their texts have all their fields."""

from __future__ import annotations

from dataclasses import replace
from string import Formatter
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils import call_sites_verdicts as sites
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_attendee import (
    CONNECTION,
    MEMBERSHIP,
    TOKEN,
    WIRING,
    BrokenError,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_figures import Media
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_ice import Survey
from ansible_collections.matrixrtc.backend.plugins.module_utils.call_verdicts import path_verdict
from ansible_collections.matrixrtc.backend.plugins.module_utils.checks import FAIL, WARN, Outline
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_account import TOKEN as ACCOUNT_TOKEN
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_discovery import TLS, tls_check
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_host import (
    SFU_ROUTE,
    Host,
    settings_check,
    sfu_route_check,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_leave import leave_check
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_service import endpoint_check
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_site import CONNECTION as ERRORS
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_site import unanswered
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_token import refused_token
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import (
    CERTIFICATE,
    REFUSED,
    Peer,
    Response,
)
from endpoint_support import CORS, DOMAIN, SERVICE, SFU, FakeHttp, answer, broken, refusal, site

from tools import troubleshooting

VALIDATE = ("GET", f"{SFU}/rtc/validate")
ALPHA, BETA = "alpha.example", "beta.example"


@pytest.mark.parametrize("error", ERRORS)
def test_every_way_of_not_answering_is_told(error: str) -> None:
    check = tls_check(site(FakeHttp(peers={DOMAIN: Peer(error=error, detail="{because}")})), "rtc", DOMAIN)
    assert check.status == FAIL
    assert "{host}" not in f"{check.cause} {check.fix}"
    silent = unanswered(TLS["rtc"], Response(f"https://{DOMAIN}/", error=error, detail="{because}"))
    assert (silent.cause, silent.fix) == (check.cause, check.fix)


def test_a_strange_get_is_told_with_its_status() -> None:
    check = endpoint_check(site(broken(("GET", f"{SERVICE}/sfu/get", answer(200, "x", CORS)))), "/sfu/get")
    assert "GET is answered with 200" in check.cause


def test_a_refusal_without_a_known_reason() -> None:
    check = refused_token(refusal(418, "M_TEAPOT"), site(), ACCOUNT_TOKEN)
    assert "refuses the request" in check.cause


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (Response("", error=REFUSED), "a NAT that does not lead back"),
        (Response("", error=CERTIFICATE, detail="expired"), "does not pass: expired"),
        (answer(404), "does not route the SFU's paths"),
    ],
)
def test_the_way_from_the_rtc_host_to_itself(given: Response, said: str) -> None:
    check = sfu_route_check(site(broken((*VALIDATE, given))))
    assert check.id == SFU_ROUTE.id
    assert check.status == FAIL
    assert said in check.cause


def test_settings_that_are_gone() -> None:
    assert "its files are gone" in settings_check(Host("/nowhere")).cause


def test_leaves_without_a_homeserver() -> None:
    assert "does not say where the homeserver is" in leave_check(site(), "").cause


def test_addresses_that_could_not_be_read() -> None:
    report = SimpleNamespace(paths=[SimpleNamespace(remote="udp 203.0.113.5:7882")])
    media: Any = Media(reports=[report], survey=Survey(error="broke off"))  # type: ignore[list-item]
    check = path_verdict(site(), media, "udp")
    assert check.status == WARN
    assert "could not be read: broke off" in check.cause


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (BrokenError(CONNECTION, "x"), f"the SFU of {BETA} does not let its own users in"),
        (BrokenError(MEMBERSHIP, "x"), f"the homeserver of {BETA} refuses the membership"),
        (BrokenError(TOKEN, "x", 404), f"the token service of {BETA} does not answer as it should"),
        (BrokenError(WIRING, "x", 404, "M_X"), "does not route this path"),
        (BrokenError(WIRING, "x", 400, "M_INVALID_PARAM"), "character by character"),
        (BrokenError(WIRING, "x", 400, "M_X"), "does not find the client API"),
        (BrokenError(WIRING, "x", 504, "M_X"), "takes longer"),
        (BrokenError(WIRING, "x", 418, "M_X"), "refuses what it should not"),
    ],
)
def test_every_reason_not_to_get_into_a_call(trouble: BrokenError, said: str) -> None:
    check = sites.JOIN.fail("x", sites.join_fault(trouble), site=BETA)
    assert said in check.cause
    assert check.shows


@pytest.mark.parametrize("fault", sites.WATCH.faults)
def test_what_keeps_people_from_seeing_each_other_names_both_sites(fault: Any) -> None:
    told = sites.WATCH.fail("x", fault, here=ALPHA, there=BETA, limit=3).cause
    assert "{" not in told


def test_fields_are_words_that_a_person_understands() -> None:
    """The page shows them in the place of what they stand for."""
    for outline in troubleshooting.outlines():
        for fault in outline.faults:
            for text in (fault.cause, fault.fix):
                for _literal, name, spec, _conversion in Formatter().parse(text):
                    assert name is None or (name.replace("_", "").isalpha() and not spec), (outline.id, name)


def test_a_check_of_one_site_declares_what_the_check_does() -> None:
    outline: Outline = replace(sites.JOIN, id=f"{sites.JOIN.id}:{BETA}")
    assert outline.faults == sites.JOIN.faults
