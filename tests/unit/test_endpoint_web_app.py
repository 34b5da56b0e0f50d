"""Element Call from outside: what a browser needs of it, each thing broken once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_site import Site
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_web_app import (
    WebApp,
    allowed_origins,
    config_check,
    devices_check,
    frames_check,
    page_check,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.http_client import HttpClient, Response
from endpoint_support import answer

PAGE = '<title>Element Call</title><script type="module" crossorigin src="./assets/index-a.js"></script>'
CSP = (("Content-Security-Policy", "frame-ancestors 'self' https://chat.example.org"),)
SCRIPT_TYPE = (("Content-Type", "text/javascript; charset=utf-8"),)
BASE = "https://call.example.org"
HEALTHY = {
    "/": answer(200, PAGE, CSP),
    "/room": answer(200, PAGE, CSP),
    "/assets/index-a.js": answer(200, "let a", SCRIPT_TYPE),
    "/config.json": answer(
        200, {"default_server_config": {"m.homeserver": {"base_url": "https://matrix.example.org"}}}
    ),
}
APP = WebApp("call.example.org", ("https://chat.example.org",), "https://matrix.example.org")
REFUSED = Response("", 0, error="refused", detail="connection refused")


@dataclass
class Answers(HttpClient):
    """Answers from a table."""

    table: dict[str, Response] = field(default_factory=lambda: dict(HEALTHY))

    def request(self, _method: str, url: str, *_rest: object, **_more: object) -> Response:  # type: ignore[override]
        return self.table.get(url.removeprefix(BASE), answer(404))


def site(**changes: Response) -> Site:
    """A site whose app answers this otherwise."""
    return Site("example.org", "rtc.example.org", "", "", Answers(table={**HEALTHY, **changes}))


def test_a_healthy_app() -> None:
    found = [check(site(), APP) for check in (page_check, config_check, frames_check, devices_check)]
    assert {check.status for check in found} == {"ok"}
    assert "https://matrix.example.org" in found[1].seen


@pytest.mark.parametrize(
    ("path", "instead", "cause"),
    [
        ("/", REFUSED, "nothing listens"),
        ("/", answer(502), "the release is not in place"),
        ("/room", answer(404), "the release is not in place"),
        ("/", answer(200, "<title>Welcome to nginx</title>"), "another site answers"),
        ("/assets/index-a.js", answer(404), "the app stays empty"),
        ("/assets/index-a.js", answer(200, PAGE, (("Content-Type", "text/html"),)), "the app stays empty"),
    ],
)
def test_a_page_that_does_not_work(path: str, instead: Response, cause: str) -> None:
    check = page_check(site(**{path: instead}), APP)
    assert check.status == "fail"
    assert cause in check.cause
    assert check.fix


@pytest.mark.parametrize(
    ("instead", "cause"),
    [
        (answer(200, PAGE), "takes a page in the place of its configuration"),
        (answer(404), "does not start"),
        (answer(200, {}), "logs people in elsewhere"),
        (
            answer(200, {"default_server_config": {"m.homeserver": {"base_url": "https://x.org"}}}),
            "elsewhere",
        ),
        (REFUSED, "nothing listens"),
    ],
)
def test_a_configuration_that_does_not_work(instead: Response, cause: str) -> None:
    check = config_check(site(**{"/config.json": instead}), APP)
    assert check.status == "fail"
    assert cause in check.cause


def test_an_app_without_a_homeserver_of_its_own_needs_none() -> None:
    assert (
        config_check(site(**{"/config.json": answer(200, {})}), replace(APP, homeserver_url="")).status
        == "ok"
    )


@pytest.mark.parametrize(
    ("policy", "origins", "status"),
    [
        ("", ("https://chat.example.org",), "warn"),
        ("", (), "warn"),
        ("frame-ancestors 'none'", ("https://chat.example.org",), "fail"),
        ("frame-ancestors 'none'", (), "ok"),
        ("default-src 'self'; frame-ancestors *", (), "warn"),
        (
            "frame-ancestors 'self' https://chat.example.org https://b.org",
            ("https://chat.example.org",),
            "warn",
        ),
    ],
)
def test_who_may_show_it(policy: str, origins: tuple[str, ...], status: str) -> None:
    page = answer(200, PAGE, (("Content-Security-Policy", policy),) if policy else ())
    assert frames_check(site(**{"/": page}), replace(APP, origins=origins)).status == status


def test_a_policy_is_read_as_browsers_do() -> None:
    assert allowed_origins("Frame-Ancestors 'self' https://a.org; img-src x", "DENY") == {"https://a.org"}
    assert allowed_origins("img-src https://a.org", "") == {"*"}
    assert allowed_origins("", "SAMEORIGIN") == set()


def test_a_frame_that_the_older_header_forbids_is_found() -> None:
    page = answer(200, PAGE, (("X-Frame-Options", "SAMEORIGIN"),))
    check = frames_check(site(**{"/": page}), replace(APP, origins=("https://a.org",)))
    assert check.status == "fail"
    assert "https://a.org shows an empty frame" in check.cause


def test_a_policy_that_takes_camera_and_microphone_is_found() -> None:
    policy = "geolocation=(), camera=(), microphone=(self)"
    check = devices_check(site(**{"/": answer(200, PAGE, (("Permissions-Policy", policy),))}), APP)
    assert check.status == "fail"
    assert "forbids the page camera:" in check.cause
    assert devices_check(site(), APP).status == "ok"
