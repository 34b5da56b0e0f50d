# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Checks on Synapse's own host: its files tell causes apart that look the same from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .checks import Check, Fault, Outline, run_jobs
from .edge_host import run as run_on_host
from .endpoint_discovery import ENDPOINT_OFF, NO_DELAYED_EVENTS, NO_LIST, NO_OPENID
from .endpoint_host import stopped_units
from .symptoms import GHOST, LOST, NO_TRANSPORT, NOTHING, REFUSED
from .synapse_files import ConfigError, merge, read_layout
from .synapse_listeners import answers_openid
from .synapse_policy import LIMITS, parse_duration
from .synapse_units import own_settings, read_units
from .synapse_warnings import hides_clients
from .synapse_yaml import HAS_YAML

# Names that guides on the web give and Synapse has never known, at the top or among its experiments.
INVENTED = ("livekit_jwt_sso", "rtc", "msc4140_enabled")
# What upstream's guide for MatrixRTC asks for.
LEAST: Mapping[str, Mapping[str, float]] = {
    "rc_message": {"per_second": 0.5, "burst_count": 30},
    "rc_delayed_event_mgmt": {"per_second": 1, "burst_count": 20},
}

STOPPED = Fault("{units} not running", "journalctl -u {first} -n 50 says why; systemctl start {first}", LOST)
SERVICES = Outline(
    "homeserver_services", "Synapse and its workers", "all units active", "host", LOST, (STOPPED,)
)
UNKNOWN_KEYS = Fault(
    "{keys} does nothing: Synapse knows no such setting, although some guides name it",
    "take it out; calls need max_event_delay_duration, experimental_features.msc4143_enabled and "
    "matrix_rtc.transports",
    NOTHING,
)
GHOSTS = Fault(NO_DELAYED_EVENTS.cause, NO_DELAYED_EVENTS.fix, GHOST)
LOW_LIMITS = Fault(
    "{limits} lets through less than a call needs: some requests of its people are refused (429), and they "
    "drop out",
    "run site.yml --tags synapse_config, which raises what is lower",
    LOST,
)
SETTINGS = Outline(
    "homeserver_settings",
    "Synapse's settings for calls",
    "transports announced, delayed events allowed, limits as high as upstream's guide has them",
    "host",
    NO_TRANSPORT,
    (ENDPOINT_OFF, NO_LIST, GHOSTS, LOW_LIMITS, UNKNOWN_KEYS),
)
ONE_ADDRESS = Fault(
    "a listener behind a proxy has no 'x_forwarded: true': all people share the proxy's address and its rate "
    "limits, so from about ten in a call some are refused (429)",
    "set x_forwarded: true for that listener and have the proxy set X-Forwarded-For",
    LOST,
)
LISTENERS = Outline(
    "homeserver_listeners",
    "Synapse's listeners",
    "'federation' or 'openid' on one, people's own addresses on all",
    "host",
    REFUSED,
    (NO_OPENID, ONE_ADDRESS),
)


@dataclass(frozen=True)
class SynapseFiles:
    """Where a Synapse has its settings: its -c options, its working directory, its units and its workers'."""

    config: tuple[str, ...]
    directory: str
    units: tuple[str, ...] = ()


def services_check(place: SynapseFiles) -> Check:
    """Synapse runs, and every worker."""
    found = stopped_units(place.units)
    if found is None or not place.units:
        return SERVICES.skip("no systemd unit to ask for")
    seen, stopped = found
    if stopped:
        return SERVICES.fail(seen, STOPPED, units=" and ".join(stopped), first=stopped[0])
    return SERVICES.ok(seen)


def settings_check(config: Mapping[str, Any], service_url: str) -> Check:
    """What the files say once they are merged, as Synapse does at its next start."""
    broken, troubling = [], []
    experiments = mapping(config, "experimental_features")
    if experiments.get("msc4143_enabled") is not True:
        broken.append(("msc4143_enabled is off", ENDPOINT_OFF))
    elif not mapping(config, "matrix_rtc").get("transports"):
        broken.append(("matrix_rtc.transports is empty", NO_LIST))
    if not allows_delayed_events(config):
        broken.append(("max_event_delay_duration is not set", GHOSTS))
    invented = [name for name in INVENTED if name in config or name in experiments]
    if invented:
        troubling.append((f"{', '.join(invented)} is set", UNKNOWN_KEYS))
    low = low_limits(config)
    if low:
        troubling.append((", ".join(low), LOW_LIMITS))
    if not broken and not troubling:
        return SETTINGS.ok("as calls need them")
    found = [*broken, *troubling]
    tell = SETTINGS.fail if broken else SETTINGS.warn
    return tell(
        "; ".join(seen for seen, _fault in found),
        *[fault for _seen, fault in found],
        service_url=service_url,
        keys=", ".join(invented),
        limits=" and ".join(low),
    )


def allows_delayed_events(config: Mapping[str, Any]) -> bool:
    """Whether a delay is allowed at all."""
    try:
        return parse_duration(config.get("max_event_delay_duration") or 0) > 0
    except ValueError:
        return False


def low_limits(config: Mapping[str, Any]) -> list[str]:
    """The limits that are lower than a call needs, with what they are."""
    found = []
    for name, least in LEAST.items():
        given = {**LIMITS[name], **mapping(config, name)}
        if any(not isinstance(given[key], (int, float)) or given[key] < least[key] for key in least):
            found.append(f"{name} {given['per_second']} per second, {given['burst_count']} at once")
    return found


def mapping(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A section of the settings, empty when it is none."""
    found = config.get(key)
    return found if isinstance(found, Mapping) else {}


def listeners_check(listeners: Sequence[Any]) -> Check:
    """The token service's question is answered, and people are told apart."""
    if answers_openid(listeners) is False:
        return LISTENERS.fail("no resource 'federation' or 'openid'", NO_OPENID)
    hiding = [str(one.get("port", one.get("path"))) for one in listeners if hides_clients(one)]
    if hiding:
        return LISTENERS.warn(f"no x_forwarded on {', '.join(hiding)}", ONE_ADDRESS)
    return LISTENERS.ok(f"{len(listeners)} listeners")


def all_listeners(config: Mapping[str, Any], place: SynapseFiles) -> list[Any]:
    """The listeners of Synapse and of its workers."""
    found = config.get("listeners")
    listeners = list(found) if isinstance(found, list) else []
    for unit in read_units(place.units, run_on_host):
        for _path, values in own_settings(unit, place.config):
            more = values.get("worker_listeners")
            listeners += more if isinstance(more, list) else []
    return listeners


def homeserver_checks(place: SynapseFiles, service_url: str) -> list[Check]:
    """All checks on Synapse's host."""
    services = run_jobs((lambda: [services_check(place)],))
    try:
        if not HAS_YAML:
            raise ConfigError("this Python has no PyYAML")
        config = merge(read_layout(place.config, place.directory, "").files)
    except (ConfigError, OSError) as error:
        return [*services, *[outline.skip(f"not read: {error}") for outline in (SETTINGS, LISTENERS)]]
    return [*services, settings_check(config, service_url), listeners_check(all_listeners(config, place))]
