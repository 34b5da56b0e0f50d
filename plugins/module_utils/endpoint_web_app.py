# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of Element Call, the web app, from outside: its page, its configuration, and who may show it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .checks import Check, Fault, Outline, run_jobs
from .endpoint_discovery import tls_check
from .endpoint_site import NO_ANSWER, Site, unanswered
from .symptoms import NO_APP, NO_PICTURE, NOTHING

RUN = "run site.yml --tags element_call"
OTHER_SITE = Fault("another site answers at this host name, or the release is not in place", RUN)
NO_SCRIPT = Fault("the page is there and its script is not, or not as a script: the app stays empty", RUN)
PAGE = Outline(
    "app_page",
    "Page of the web app",
    "Element Call at / and at a room's path, with its script",
    "entrance",
    NO_APP,
    (OTHER_SITE, NO_SCRIPT, *NO_ANSWER),
)
NO_CONFIG = Fault(
    "the app takes a page in the place of its configuration for a broken one and does not start", RUN
)
OTHER_HOMESERVER = Fault("the app logs people in elsewhere than at {homeserver_url}", RUN, NOTHING)
CONFIG = Outline(
    "app_config",
    "Configuration of the web app",
    "config.json as JSON, never the page itself",
    "entrance",
    NO_APP,
    (NO_CONFIG, OTHER_HOMESERVER, *NO_ANSWER),
)
FRAME_REFUSED = Fault("{origins} shows an empty frame in the place of the app", RUN)
FRAME_OPEN = Fault(
    "others may show the app in a frame of theirs, camera and microphone included", RUN, NOTHING
)
FRAMES = Outline(
    "app_frames",
    "Who may show the web app",
    "the origins of element_call_frame_origins",
    "entrance",
    NO_APP,
    (FRAME_REFUSED, FRAME_OPEN, *NO_ANSWER),
)
DEVICES_FORBIDDEN = Fault(
    "the web server's Permissions-Policy forbids the page {devices}: no browser asks its user, and nobody is "
    "seen or heard",
    f"allow camera, microphone and display-capture to 'self' in that header; {RUN}",
    NO_PICTURE,
)
WANTED_DEVICES = ("camera", "microphone", "display-capture")
DEVICES = Outline(
    "app_devices",
    "Camera and microphone in the web app",
    "no Permissions-Policy that forbids them",
    "entrance",
    NO_APP,
    (DEVICES_FORBIDDEN, *NO_ANSWER),
)
SCRIPT = re.compile(r'<script type="module"[^>]* src="\.?/?([^"]+)"')


@dataclass(frozen=True)
class WebApp:
    """What the app should be: its host, who may show it, and its homeserver ('' for any)."""

    domain: str
    origins: tuple[str, ...] = ()
    homeserver_url: str = ""


def page_check(site: Site, app: WebApp) -> Check:
    """The page at the root and at a room's path, and the script without which it stays empty."""
    name = ""
    for path in ("/", "/room"):
        answer = site.http.request("GET", f"https://{app.domain}{path}")
        if answer.error:
            return unanswered(PAGE, answer)
        script = SCRIPT.search(answer.body.decode("utf-8", "replace"))
        name = script.group(1) if script and answer.status == 200 else ""
        if not name:
            return PAGE.fail(f"{answer.summary()} for {path}", OTHER_SITE)
    found = site.http.request("GET", f"https://{app.domain}/{name}")
    kind = found.header("content-type")
    if found.status != 200 or "javascript" not in kind:
        return PAGE.fail(f"{found.summary()} for {name}, {kind or 'of no type'}", NO_SCRIPT)
    return PAGE.ok(f"200, with {name}")


def config_check(site: Site, app: WebApp) -> Check:
    """A configuration that the app can read, for the right homeserver."""
    answer = site.http.request("GET", f"https://{app.domain}/config.json")
    if answer.error:
        return unanswered(CONFIG, answer)
    document = answer.json()
    if answer.status != 200 or not isinstance(document, dict):
        return CONFIG.fail(answer.summary(), NO_CONFIG)
    told = document.get("default_server_config", {})
    homeserver = told.get("m.homeserver", {}) if isinstance(told, dict) else {}
    base_url = str(homeserver.get("base_url", "")) if isinstance(homeserver, dict) else ""
    if app.homeserver_url and base_url.rstrip("/") != app.homeserver_url.rstrip("/"):
        seen = f"homeserver {base_url or 'none'}"
        return CONFIG.fail(seen, OTHER_HOMESERVER, homeserver_url=app.homeserver_url)
    return CONFIG.ok(f"homeserver {base_url or 'none'}, mode {document.get('matrix_rtc_mode', 'of people')}")


def allowed_origins(policy: str, options: str) -> set[str]:
    """Who may frame a page, {'*'} for anybody: by frame-ancestors (CSP Level 3, 6.4.2) or X-Frame-Options."""
    for part in policy.split(";"):
        name, *origins = part.split() or [""]
        if name.lower() == "frame-ancestors":
            return set(origins) - {"'self'", "'none'"}
    return set() if options.strip().upper() in ("DENY", "SAMEORIGIN") else {"*"}


def devices_check(site: Site, app: WebApp) -> Check:
    """The page may use camera, microphone and screen, which a header of the web server can forbid."""
    answer = site.http.request("GET", f"https://{app.domain}/")
    if answer.error:
        return unanswered(DEVICES, answer)
    policy = answer.header("permissions-policy").replace(" ", "")
    forbidden = [name for name in WANTED_DEVICES if f"{name}=()" in policy.split(",")]
    if forbidden:
        seen = answer.header("permissions-policy")
        return DEVICES.fail(seen, DEVICES_FORBIDDEN, devices=", ".join(forbidden))
    return DEVICES.ok(answer.header("permissions-policy") or "no Permissions-Policy")


def frames_check(site: Site, app: WebApp) -> Check:
    """Whoever is to show the app may, and nobody else."""
    answer = site.http.request("GET", f"https://{app.domain}/")
    if answer.error:
        return unanswered(FRAMES, answer)
    allowed = allowed_origins(answer.header("content-security-policy"), answer.header("x-frame-options"))
    seen = ", ".join(sorted(allowed)) or "nobody else"
    if allowed == set(app.origins):
        return FRAMES.ok(seen)
    if "*" not in allowed and (missing := sorted(set(app.origins) - allowed)):
        return FRAMES.fail(seen, FRAME_REFUSED, origins=", ".join(missing))
    return FRAMES.warn(seen, FRAME_OPEN)


def web_app_checks(site: Site, app: WebApp) -> Sequence[Check]:
    """All of them."""
    return run_jobs(
        (
            lambda: [tls_check(site, "call", app.domain)],
            lambda: [page_check(site, app)],
            lambda: [config_check(site, app)],
            lambda: [frames_check(site, app)],
            lambda: [devices_check(site, app)],
        )
    )
