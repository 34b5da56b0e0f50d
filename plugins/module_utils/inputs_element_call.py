# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of the web app's inputs (keys and values: element-call, src/config/ConfigOptions.ts)."""

from __future__ import annotations

from collections.abc import Mapping

from .inputs_ports import PORT_REMEDY, port_or_none
from .inputs_release import check_release
from .inputs_report import Inputs
from .inputs_server import FILE_NAME, LOG_FILE, check_certificate
from .inputs_site import Settings, check_settings, check_version, is_refused
from .inputs_values import (
    InvalidValueError,
    at_least,
    boolean,
    domain,
    integer,
    ip_literal,
    mapping,
    one_of,
    public_url,
    release_version,
    sha256,
    shown,
)

PACKAGES = ("full", "embedded")
DELEGATED_SINCE = (0, 26, 0)
MODES = ("compatibility", "matrix_2_0")
OLD_MODES = ("legacy", *MODES)
LEAVE_KEYS = ("delay_ms", "restart_ms", "restart_timeout_ms")
MEDIA_KEYS = ("video_codec", "video", "screen_share")
CODECS = ("vp8", "vp9", "h264", "av1")
SETTINGS: Settings = {
    "service": (FILE_NAME, "Set it to the name of nginx's unit, such as nginx.", True),
    "site": (FILE_NAME, "Set it to a file name that sorts late, such as zz-matrixrtc_call.", True),
    "access_log": (LOG_FILE, "Set it to a file such as /var/log/nginx/matrixrtc_call_access.log.", True),
    "hsts_seconds": (at_least(0), "Set it to a whole number, 0 to leave the header out.", True),
    "wait_for_key_rotation_ms": (integer, "Set it to a number of milliseconds, or leave it empty.", False),
    "split_port": (port_or_none, PORT_REMEDY.format(8443), True),
    "sha256": (sha256, "Set it to the 64 hexadecimal digits of the archive's checksum.", False),
}
ORIGIN_REMEDY = "Set it to a list of origins such as ['https://chat.example.org'], each without a path."


def check_element_call(inputs: Inputs, _secret: str) -> None:
    """All inputs of the web app's role."""
    check_version(inputs)
    check_release(inputs)
    check_settings(inputs, SETTINGS)
    remedy = "Set it to a list of the host's addresses, or to [] for all of them."
    inputs.read_list("listen_addresses", ip_literal, remedy, required=False)
    check_name(inputs)
    check_certificate(inputs, "call_domain")
    check_package(inputs)
    check_mode(inputs)
    check_media(inputs)
    check_leaves(inputs)
    inputs.read(
        "extra_config", mapping, "Set it to a mapping of further keys of config.json.", required=False
    )


def check_name(inputs: Inputs) -> None:
    """A host name of its own: the app answers every path, and so would hide whatever else is there."""
    remedy = "Set it to a host name for the app alone, such as call.example.org."
    name = inputs.read("call_domain", domain, remedy)
    for key, whose in (("rtc_domain", "the SFU's"), ("server_name", "the server name's")):
        if name is not None and name == inputs.values.get(key):
            inputs.refuse("call_domain", f"{shown(name)} is {whose} own host name", remedy)


def origin(value: object) -> str:
    """The origin of a page: https, a host, perhaps a port."""
    parts = public_url(value, ("https",))
    if parts.path:
        raise InvalidValueError(f"{shown(value)} has a path")
    return parts.geturl()


def check_package(inputs: Inputs) -> None:
    """The widget has to be allowed in a frame; the app has to know its homeserver."""
    package = inputs.read("package", one_of(PACKAGES), f"Set it to {' or '.join(PACKAGES)}.")
    origins = inputs.read_list("frame_origins", origin, ORIGIN_REMEDY, required=False)
    if package == "embedded" and origins is not None and not origins:
        inputs.refuse("frame_origins", "is an empty list, so no client could show the widget", ORIGIN_REMEDY)
    remedy = "Set it to the URL of the homeserver's client API, such as https://matrix.example.org."
    inputs.read("homeserver_url", lambda raw: public_url(raw, ("https",)), remedy, required=package == "full")


def check_mode(inputs: Inputs) -> None:
    """A mode that this version knows: it ignores others. Matrix 2.0 needs sticky events (MSC4354)."""
    modes = MODES if _version(inputs) >= DELEGATED_SINCE else OLD_MODES
    remedy = f"Set it to {' or '.join(modes)}, or leave it empty."
    mode = inputs.read("matrix_rtc_mode", one_of(modes), remedy, required=False)
    if mode == "matrix_2_0" and not _is_true(inputs.values.get("sticky_events")):
        inputs.refuse(
            "matrix_rtc_mode",
            "'matrix_2_0' needs sticky events (MSC4354), which the homeserver does not have: everybody would "
            "see STICKY_EVENTS_NOT_SUPPORTED",
            "Set synapse_config_sticky_events to true for all hosts of the site, or leave this one empty.",
        )


def _is_true(value: object) -> bool:
    try:
        return boolean(value)
    except InvalidValueError:
        return False


def _version(inputs: Inputs) -> tuple[int, int, int]:
    try:
        return release_version(inputs.values.get("version"))
    except InvalidValueError:
        return DELEGATED_SINCE


def check_media(inputs: Inputs) -> None:
    """Codec and qualities, as upstream names them."""
    remedy = f"Set it to a mapping with {', '.join(MEDIA_KEYS)}, as in docs/element-call.md, or to {{}}."
    media = inputs.read("media_quality", mapping, remedy, required=False)
    if media is None:
        return
    _refuse_unknown(inputs, "media_quality", media, MEDIA_KEYS, remedy)
    if "video_codec" in media:
        inputs.parse("media_quality", media["video_codec"], one_of(CODECS), remedy)


def check_leaves(inputs: Inputs) -> None:
    """Times after which somebody who vanished leaves the call, in milliseconds."""
    remedy = f"Set it to a mapping of {', '.join(LEAVE_KEYS)} to milliseconds, or to {{}}."
    for key in ("delayed_leave", "delegated_delayed_leave"):
        times = inputs.read(key, mapping, remedy, required=False)
        if not times:
            continue
        _refuse_unknown(inputs, key, times, LEAVE_KEYS, remedy)
        for value in times.values():
            inputs.parse(key, value, at_least(1), remedy)
        is_old = _version(inputs) < DELEGATED_SINCE and not is_refused(inputs, "version")
        if key == "delegated_delayed_leave" and is_old:
            text = f"is set, and Element Call {inputs.values.get('version')} knows no delegated leave"
            inputs.refuse(key, text, "Leave it empty, or use 0.26.0 or newer.")


def _refuse_unknown(
    inputs: Inputs, key: str, given: Mapping[str, object], known: tuple[str, ...], remedy: str
) -> None:
    if unknown := sorted(set(given) - set(known)):
        inputs.refuse(key, f"has {', '.join(map(shown, unknown))}, which the app does not know", remedy)
