# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Checks on the RTC host itself: what outsiders cannot see, and what tells one cause from another."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from urllib.parse import urlsplit

from .checks import Check, Fault, Outline, run_jobs
from .endpoint_clock import HOST_CLOCK, own_clock_check
from .endpoint_discovery import USERINFO as OUTSIDE_USERINFO
from .endpoint_discovery import userinfo_check
from .endpoint_iptables import NOT_INSTALLED, add_iptables_rules, tool_of
from .endpoint_leave import HOST_LEAVES, leave_check
from .endpoint_livekit import flat_settings, is_false, key_pairs, list_at
from .endpoint_nftables import DROP, UNKNOWN, Packet, judge, read_ruleset
from .endpoint_service import ADMIN_PATH, GATEWAY, SFU_DOWN
from .endpoint_site import NO_ANSWER, START_LIVEKIT, START_SERVICE, Discovery, Site, discover, unanswered
from .inputs_values import port_range
from .sockets import Listener, listeners
from .symptoms import GHOST, NO_ACCESS, NO_MEDIA, NO_SFU, NOTHING, REFUSED, SOME_NO_MEDIA

COMMAND_TIMEOUT = 10.0
LONGEST_WORDS = 200
STUN_FAILED = "could not resolve external IP"
TOKEN = re.compile(r"eyJ[\w-]+\.[\w.-]+|(?<=access_token=)[^&\s\"']+")
LIVEKIT_SETTINGS = "livekit/livekit.yaml"
LIVEKIT_KEYS = "livekit/keys.yaml"
SERVICE_KEY = "lk-jwt-service/key"
SERVICE_SECRET = "lk-jwt-service/secret"  # noqa: S105 a file name
SERVICE_HOSTS = "lk-jwt-service/hosts"

LIVEKIT_STOPPED = Fault("{units} not running: stopped by hand, or it ends at start", START_LIVEKIT, REFUSED)
SERVICE_STOPPED = Fault(LIVEKIT_STOPPED.cause, START_SERVICE)
NO_STUN = Fault(
    "LiveKit asks a STUN server for its public address, gets no answer, and ends: it is started again and "
    "again",
    "set matrixrtc_media_address and take use_external_ip out of LiveKit's settings, or open UDP to the STUN "
    "servers",
    REFUSED,
)
UNITS = Outline(
    "host_services",
    "Services on the RTC host",
    "livekit and lk-jwt-service active",
    "host",
    NO_ACCESS,
    (LIVEKIT_STOPPED, SERVICE_STOPPED, NO_STUN),
)
NO_LIVEKIT = Fault("LiveKit is not running, or was started with other ports", START_LIVEKIT, REFUSED)
NO_SERVICE = Fault("the token service is not running, or was started with another port", START_SERVICE)
WRITE_PORTS = "run site.yml, which writes the ports and addresses into both configurations"
PUBLIC_PORTS = Fault(
    "{ports} should be on 127.0.0.1: the proxy's limits and TLS can be bypassed", WRITE_PORTS, NOTHING
)
OTHER_PORTS = Fault(
    "LiveKit runs with other media ports than the inventory has; clients are sent to closed ports",
    WRITE_PORTS,
    NO_MEDIA,
)
SOCKETS = Outline(
    "host_sockets",
    "Listening sockets",
    "internal ports on loopback only, media ports for everybody",
    "host",
    NO_ACCESS,
    (NO_LIVEKIT, NO_SERVICE, PUBLIC_PORTS, OTHER_PORTS),
)
NO_SETTINGS = Fault(
    "LiveKit was not deployed by this collection, or its files are gone", "run site.yml", NOTHING
)
WRITE_SETTINGS = "run site.yml: the role livekit writes both settings"
AUTO_CREATE = Fault(
    "anybody with a token makes rooms, so the full-access list means nothing", WRITE_SETTINGS, NOTHING
)
NO_WEBHOOK = Fault(
    "no webhook leads to the token service, so it never learns who left: after a crash users stay in the "
    "call for up to an hour",
    WRITE_SETTINGS,
)
UNSIGNED_WEBHOOK = Fault("LiveKit cannot sign its webhooks: nobody learns who left", WRITE_SETTINGS)
SETTINGS = Outline(
    "host_livekit_settings",
    "LiveKit's settings",
    "room.auto_create false, webhook to the token service",
    "host",
    GHOST,
    (NO_WEBHOOK, UNSIGNED_WEBHOOK, AUTO_CREATE, NO_SETTINGS),
)
NO_KEY_FILES = Fault("the key files are missing or not readable", "run site.yml")
WRITE_PAIR = "run site.yml, which writes the pair into both places and restarts what read the old one"
OTHER_KEY = Fault(
    "the key in the token service's file differs from LiveKit's: LiveKit refuses to make rooms and its "
    "webhooks are ignored",
    WRITE_PAIR,
)
OTHER_SECRET = Fault(
    "the secret in {files} is not the same: LiveKit refuses the token service's requests (401) and every "
    "token, and its webhooks are ignored without a word",
    WRITE_PAIR,
)
PAIR = Outline(
    "host_credentials",
    "API key and secret",
    "the same pair for LiveKit and the token service",
    "host",
    REFUSED,
    (OTHER_KEY, OTHER_SECRET, NO_KEY_FILES),
)
NO_WAY_TO_ITSELF = Fault(
    "from its own host the public name does not work, as behind a NAT that does not lead back",
    "the role lk_jwt_service gives the token service a hosts entry to 127.0.0.1",
)
ADMIN_BLOCKED = Fault(
    "the proxy does not let the RTC host use the admin API, so the token service can make no rooms "
    '("Unable to create room on SFU")',
    "allow /twirp/ from 127.0.0.1, ::1 and the host's own addresses (role nginx_proxy)",
)
SFU_NOT_ROUTED = Fault("the proxy does not route the SFU's paths", "run site.yml (role nginx_proxy)", NO_SFU)
SFU_ROUTE = Outline(
    "host_sfu_route",
    "SFU as the token service reaches it",
    "401 from the public URL, admin API included",
    "host",
    REFUSED,
    (SFU_DOWN, ADMIN_BLOCKED, SFU_NOT_ROUTED, NO_WAY_TO_ITSELF, *NO_ANSWER),
)
USERINFO = replace(OUTSIDE_USERINFO, id="host_openid_userinfo", title="OpenID check from the RTC host")
PACKETS_DROPPED = Fault(
    "the rule that opens {ports} is missing, or stands behind one that drops. "
    "Media may still flow where the SFU's own packets open the way, but not for users behind NAT",
    "run site.yml (role firewall), which opens {ports} in {tool}; if "
    "that changes nothing, look for a rule of your own in the chain that drops",
)
FIREWALL = Outline(
    "host_firewall",
    "Packet filter on the RTC host",
    "new packets to 443, the TCP and the UDP media ports pass",
    "host",
    SOME_NO_MEDIA,
    (PACKETS_DROPPED,),
)


@dataclass(frozen=True)
class Host:
    """Where things are on the RTC host."""

    config_dir: str = "/etc/matrixrtc"
    units: tuple[str, ...] = ("livekit", "lk-jwt-service")
    process_folder: str = "/proc"

    def read(self, name: str) -> str:
        """A file below the configuration folder. Raises OSError."""
        with open(os.path.join(self.config_dir, name), encoding="utf-8") as source:
            return source.read()

    def process_file(self, name: str) -> str:
        """A file below /proc, '' where there is none."""
        try:
            with open(os.path.join(self.process_folder, name), encoding="ascii") as source:
                return source.read()
        except FileNotFoundError:
            return ""


def run_command(arguments: Sequence[str]) -> tuple[int, str]:
    """Exit status and output of a command; status 127 when there is no such program."""
    program = shutil.which(arguments[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        return NOT_INSTALLED, ""
    done = subprocess.run(
        [program, *arguments[1:]],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=COMMAND_TIMEOUT,
        check=False,
        env={"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin"},
    )
    return done.returncode, done.stdout


def stopped_units(units: Sequence[str]) -> tuple[str, list[str]] | None:
    """What systemd and the units themselves say, and which of them do not run; None without systemd."""
    status, output = run_command(["systemctl", "is-active", *[f"{unit}.service" for unit in units]])
    if status == NOT_INSTALLED:
        return None
    states = dict(zip(units, output.split()))  # noqa: B905 Python 3.9 has no strict=
    stopped = [unit for unit in units if states.get(unit) != "active"]
    told = ", ".join(f"{unit} {states.get(unit, 'unknown')}" for unit in units)
    words = [f"{unit}: {said}" for unit in stopped if (said := last_words(unit))]
    return "; ".join([told, *words]), stopped


def units_check(host: Host) -> Check:
    """Both services run."""
    found = stopped_units(host.units)
    if found is None:
        return UNITS.skip("no systemctl on this host")
    seen, stopped = found
    if not stopped:
        return UNITS.ok(seen)
    if STUN_FAILED in seen:
        return UNITS.fail(seen, NO_STUN)
    fault = LIVEKIT_STOPPED if stopped[0] == host.units[0] else SERVICE_STOPPED
    return UNITS.fail(seen, fault, units=" and ".join(stopped))


def last_words(unit: str) -> str:
    """The last thing that a unit's main process wrote to the journal, '' for nothing; tokens are left out."""
    _status, process = run_command(["systemctl", "show", "--property=ExecMainPID", "--value", unit])
    of_it = [f"_SYSTEMD_UNIT={unit}.service", f"_PID={process.strip()}"]
    status, output = run_command(["journalctl", *of_it, "--lines=1", "--output=cat", "--no-pager", "--quiet"])
    line = " ".join(output.split())[-LONGEST_WORDS:] if status == 0 else ""
    return TOKEN.sub("***", line)


def is_loopback(listener: Listener) -> bool:
    """The socket is for this host only."""
    return ip_address(listener.address).is_loopback


def opens_on_demand(host: Host) -> bool:
    """LiveKit opens the UDP ports of a range for each participant, those of udp_port at its start."""
    try:
        return flat_settings(host.read(LIVEKIT_SETTINGS)).get("rtc.port_range_start", "0") != "0"
    except OSError:  # the check host_livekit_settings says so
        return False


def sockets_check(site: Site, host: Host) -> Check:
    """Every port is open, and only for those whom it is for."""
    found = list(listeners(host.process_folder))
    udp = port_range(site.udp_ports)
    inner = {port: tcp_listeners(found, port) for port in (site.sfu_port, site.token_service_port)}
    outer = {f"TCP {site.tcp_port}": tcp_listeners(found, site.tcp_port)} if site.tcp_port else {}
    media = media_listeners(site, found)
    if media or not opens_on_demand(host):
        outer[f"UDP {udp}"] = media
    missing = [f"TCP {port}" for port, held in inner.items() if not held]
    missing += [name for name, held in outer.items() if not held]
    public = [f"TCP {port}" for port, held in inner.items() if not all(map(is_loopback, held))]
    hidden = [name for name, held in outer.items() if held and all(map(is_loopback, held))]
    seen = [f"nothing listens on {name}" for name in missing]
    seen += [f"{name} listens on every address" for name in public]
    seen += [f"{name} on loopback only" for name in hidden]
    if not seen:
        opened = ", ".join(sorted({str(one.port) for one in media})) or "on demand"
        return SOCKETS.ok(f"TCP {' and '.join(map(str, inner))} on loopback, {', '.join(outer)}: {opened}")
    fault = sockets_fault(site, missing, public)
    return SOCKETS.fail("; ".join(seen), fault, ports=" and ".join(public))


def media_listeners(site: Site, found: Sequence[Listener]) -> list[Listener]:
    """Who listens on the UDP ports for media."""
    udp = port_range(site.udp_ports)
    return [one for one in found if one.protocol == "udp" and udp.first <= one.port <= udp.last]


def tcp_listeners(found: Sequence[Listener], port: int) -> list[Listener]:
    """Who listens on a TCP port."""
    return [listener for listener in found if listener.protocol == "tcp" and listener.port == port]


def sockets_fault(site: Site, missing: Sequence[str], public: Sequence[str]) -> Fault:
    """What is wrong when sockets are missing or misplaced."""
    if f"TCP {site.sfu_port}" in missing:
        return NO_LIVEKIT
    if f"TCP {site.token_service_port}" in missing:
        return NO_SERVICE
    return PUBLIC_PORTS if public else OTHER_PORTS


def settings_check(host: Host) -> Check:
    """LiveKit makes no rooms by itself and tells the token service who left."""
    try:
        settings = flat_settings(host.read(LIVEKIT_SETTINGS))
        keys = key_pairs(host.read(LIVEKIT_KEYS))
    except OSError as error:
        return SETTINGS.fail(f"{error.filename}: {error.strerror}", NO_SETTINGS)
    wrong = []
    if not is_false(settings.get("room.auto_create", "true")):
        wrong.append(("room.auto_create is on", AUTO_CREATE))
    hooks = list_at(settings, "webhook.urls")
    if not any(urlsplit(url).path.endswith("/sfu_webhook") for url in hooks):
        wrong.append(("no webhook to the token service", NO_WEBHOOK))
    elif settings.get("webhook.api_key", "") not in keys:
        wrong.append(("webhook.api_key is not one of LiveKit's keys", UNSIGNED_WEBHOOK))
    if wrong:
        return SETTINGS.fail("; ".join(seen for seen, _fault in wrong), *[fault for _seen, fault in wrong])
    node = settings.get("rtc.node_ip", "")
    return SETTINGS.ok(f"auto_create false, webhook {hooks[0]}" + (f", node_ip {node}" if node else ""))


def pair_check(host: Host) -> Check:
    """Both services hold the same key and secret. Compares; what the secrets are is never said."""
    try:
        keys = key_pairs(host.read(LIVEKIT_KEYS))
        key, secret = host.read(SERVICE_KEY).strip(" \r\n"), host.read(SERVICE_SECRET).strip(" \r\n")
    except OSError as error:
        return PAIR.fail(f"{error.filename}: {error.strerror}", NO_KEY_FILES)
    if key not in keys:
        return PAIR.fail(f"the token service's key is not in {LIVEKIT_KEYS}", OTHER_KEY)
    if keys[key] != secret:
        files = f"{host.config_dir}/{LIVEKIT_KEYS} and {host.config_dir}/{SERVICE_SECRET}"
        return PAIR.fail("the secrets differ", OTHER_SECRET, files=files)
    return PAIR.ok(f"key {key}, secrets equal")


def service_addresses(host: Host) -> Mapping[str, str]:
    """The token service's own hosts file: names it resolves differently from the rest of the host."""
    try:
        lines = [line.partition("#")[0].split() for line in host.read(SERVICE_HOSTS).splitlines()]
    except FileNotFoundError:  # the service uses the host's resolver
        return {}
    return {name: words[0] for words in reversed(lines) for name in words[1:]}


def sfu_route_check(site: Site) -> Check:
    """The token service reaches the SFU at the URL it hands out, and may use the admin API there."""
    plain = site.http.request("GET", f"{site.sfu_http_url}/rtc/validate")
    admin = site.http.request("POST", site.sfu_http_url + ADMIN_PATH, body={})
    seen = f"/rtc/validate {plain.summary()}, admin API {admin.summary()}"
    if plain.status == 401 and admin.status == 401:
        return SFU_ROUTE.ok(seen)
    if plain.error:
        return unanswered(SFU_ROUTE, plain, NO_WAY_TO_ITSELF, seen=seen)
    if plain.status in GATEWAY:
        return SFU_ROUTE.fail(seen, SFU_DOWN)
    return SFU_ROUTE.fail(seen, ADMIN_BLOCKED if plain.status == 401 else SFU_NOT_ROUTED)


def outer_interface(host: Host) -> str:
    """The interface of the default route, '' when there is none."""
    rows = [line.split() for line in host.process_file("net/route").splitlines()][1:]
    return next((row[0] for row in rows if len(row) > 1 and row[1] == "00000000"), "")


def firewall_check(site: Site, host: Host, web: bool = True) -> Check:
    """The packet filter of this host lets strangers' first packets in; `web`: those to nginx as well."""
    status, output = run_command(["nft", "-j", "list", "ruleset"])
    try:
        document = {} if status == NOT_INSTALLED else json.loads(output)
    except ValueError:
        return FIREWALL.skip("nft does not list the rules; this needs root")
    ruleset, interface = read_ruleset(document), outer_interface(host)
    add_iptables_rules(ruleset, run_command, host.process_file)
    if status == NOT_INSTALLED and not ruleset.chains:
        return FIREWALL.skip("neither nft nor iptables on this host")
    udp = port_range(site.udp_ports)
    wanted = [("TCP 443", [Packet("tcp", 443, interface)])] if web else []
    wanted += [
        (f"UDP {udp}", [Packet("udp", port, interface) for port in sorted({udp.first, udp.last})]),
    ]
    wanted += [(f"TCP {site.tcp_port}", [Packet("tcp", site.tcp_port, interface)])] if site.tcp_port else []
    verdicts = [(name, judge(ruleset, packet)) for name, packets in wanted for packet in packets]
    dropped = {name: verdict.chain for name, verdict in verdicts if verdict.action == DROP}
    if dropped:
        return FIREWALL.fail(
            "; ".join(f"{name} is dropped in {chain}" for name, chain in dropped.items()),
            PACKETS_DROPPED,
            ports=" and ".join(dropped),
            tool=tool_of(ruleset),
        )
    doubtful = [f"{name} in {verdict.chain}" for name, verdict in verdicts if verdict.action == UNKNOWN]
    if doubtful:
        return FIREWALL.skip(
            f"cannot be read off the rules, which ask for more than ports: {', '.join(doubtful)}"
        )
    return FIREWALL.ok(", ".join(name for name, _packets in wanted) + " pass")


def clock_of_host(site: Site, discovery: Discovery) -> Check:
    """This host has the homeserver's time."""
    if not discovery.base_url:
        return HOST_CLOCK.skip("the client well-known does not say where the homeserver is")
    url = f"{discovery.base_url}/_matrix/client/versions"
    return own_clock_check(HOST_CLOCK, site.http, url, "the homeserver")


def host_checks(site: Site, host: Host) -> list[Check]:
    """All checks on the RTC host, at once. Names are resolved as the token service resolves them."""
    addresses = {**site.http.addresses, **service_addresses(host)}
    inside = replace(site, http=replace(site.http, addresses=addresses))
    discovery = discover(inside)
    return run_jobs(
        (
            lambda: [units_check(host)],
            lambda: [sockets_check(site, host)],
            lambda: [settings_check(host)],
            lambda: [pair_check(host)],
            lambda: [sfu_route_check(inside)],
            lambda: [userinfo_check(inside, discovery, USERINFO)],
            lambda: [leave_check(inside, discovery.base_url, HOST_LEAVES)],
            lambda: [clock_of_host(inside, discovery)],
            lambda: [firewall_check(site, host)],
        )
    )
