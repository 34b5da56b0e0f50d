# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The nginx of a host: how it was built, what it is configured to do, and how to tell it of a change."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .edge_host import COMMAND_NOT_FOUND, Run, run
from .files import read_text
from .nginx_config import (
    Directive,
    Listen,
    NginxSyntaxError,
    Server,
    default_server,
    http_includes,
    matches,
    named,
    read_dump,
    servers,
)
from .nginx_probe import Ask, ask, opens_ipv6, outgoing_address, told_status

MARKED_LINE = re.compile(r"^(?P<indent>[ \t]*)@(?P<negated>!?)(?P<feature>[a-z0-9_]+)@[ \t]*(?P<rest>.*)$")
# "nginx: [emerg] ..." or, where nginx logs to stderr, "2026/11/20 16:56:28 [emerg] 382#382: ..."
COMPLAINT = re.compile(r"(\[(?:emerg|alert|crit)\]) (?:\d+#\d+: )?(.*)")
DEFAULT_CONNECTIONS = 512  # nginx's own worker_connections
# nginx's own ssl_protocols; before 1.23.4 they included TLS 1.0 and 1.1.
DEFAULT_PROTOCOLS = ("TLSv1.2", "TLSv1.3")
OLD_DEFAULT_PROTOCOLS = ("TLSv1", "TLSv1.1", *DEFAULT_PROTOCOLS)


class NginxSiteError(Exception):
    """The site cannot be applied; the text says what is wrong, where, and what became of the host."""


@dataclass(frozen=True)
class Host:
    """What surrounds the logic; tests replace every part."""

    run: Run = run
    ask: Ask = ask
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    opens_ipv6: Callable[[], bool] = opens_ipv6
    outgoing_address: Callable[[], str] = outgoing_address
    status: Callable[[int], str] = told_status
    processors: int = os.cpu_count() or 1


@dataclass(frozen=True)
class Build:
    """What `nginx -V` tells. `openssl` is (0, 0) for another TLS library."""

    version: tuple[int, int, int]
    openssl: tuple[int, int]
    main_file: str
    error_log: str
    process_file: str
    access_log: str
    has_gzip_static: bool = False
    has_stream: bool = False

    @property
    def folder(self) -> str:
        """Where the configuration lives."""
        return os.path.dirname(self.main_file)


@dataclass(frozen=True)
class Tested:
    """What `nginx -T` says of the configuration on disk. `fault` is '' when nginx accepts it."""

    fault: str
    servers: tuple[Server, ...] = ()
    includes: tuple[str, ...] = ()
    directives: tuple[Directive, ...] = ()


@dataclass(frozen=True)
class Place:
    """Where the site lives: its file and, in the Debian layout, the link that enables it ('' elsewhere)."""

    file: str
    link: str = ""

    @property
    def seen(self) -> str:
        """The path under which nginx reads the site."""
        return self.link or self.file


def read_build(host: Host) -> Build | None:
    """How nginx was built; None when the host has none."""
    done = host.run(["nginx", "-V"])
    if done.status == COMMAND_NOT_FOUND:
        return None
    text = done.errors + done.output
    version = re.search(r"nginx version: [^/\s]+/(\d+)\.(\d+)\.(\d+)", text)
    if not done.ok or version is None:
        raise NginxSiteError(f"nginx does not tell its version: {done.said}")
    # "built with OpenSSL A (running with OpenSSL B)": what counts is what it runs with.
    openssl = re.search(r"running with OpenSSL (\d+)\.(\d+)", text) or re.search(
        r"built with OpenSSL (\d+)\.(\d+)", text
    )

    def option(name: str, default: str) -> str:
        found = re.search(rf"--{name}=(\S+)", text)
        return found.group(1) if found else default

    return Build(
        version=(int(version.group(1)), int(version.group(2)), int(version.group(3))),
        openssl=(int(openssl.group(1)), int(openssl.group(2))) if openssl else (0, 0),
        main_file=option("conf-path", "/etc/nginx/nginx.conf"),
        error_log=option("error-log-path", "/var/log/nginx/error.log"),
        process_file=option("pid-path", "/run/nginx.pid"),
        access_log=option("http-log-path", "/var/log/nginx/access.log"),
        has_gzip_static="--with-http_gzip_static_module" in text,
        has_stream=bool(re.search(r"--with-stream(?![=\w])", text)),
    )


def features(build: Build, host: Host, foreign: Iterable[Server], port: int) -> frozenset[str]:
    """The names a site's lines may be marked with, as far as they hold on this host.

    http2: the directive `http2 on` exists; the older form switches it on for every site of the socket.
    mlkem: OpenSSL knows the group X25519MLKEM768; an older one refuses to start nginx because of it.
    tickets: session tickets are rotated by nginx itself, so they need not be off (Mozilla guideline 6.0).
    gzip_static: nginx can serve compressed copies that lie beside the files.
    ipv6: the kernel has IPv6. ipv4: nobody holds the port for IPv4 through a socket for both families.
    """
    dual = any(
        listen.address == "[::]" and "ipv6only=off" in listen.options
        for server in foreign
        for listen in server.on(port)
    )
    present = {
        "http2": build.version >= (1, 25, 1),
        "mlkem": build.openssl >= (3, 5),
        "tickets": build.version >= (1, 23, 2),
        "gzip_static": build.has_gzip_static,
        "ipv6": host.opens_ipv6(),
        "ipv4": not dual,
    }
    return frozenset(name for name, holds in present.items() if holds)


def render(content: str, present: frozenset[str]) -> str:
    """The content without its markers: `@name@` lines stay where the feature holds, `@!name@` elsewhere."""
    lines: list[str] = []
    for line in content.splitlines():
        match = MARKED_LINE.match(line)
        if match is None:
            lines.append(line)
        elif (match["feature"] in present) != bool(match["negated"]):
            lines.append(match["indent"] + match["rest"])
    return "\n".join(lines) + "\n"


def test(host: Host, build: Build) -> Tested:
    """Let nginx check the whole configuration on disk, and read it."""
    done = host.run(["nginx", "-T"])
    if not done.ok:
        told = COMPLAINT.search(done.errors)
        return Tested(f"{told.group(1)} {told.group(2)}" if told else done.said)
    try:
        directives = read_dump(done.output, build.main_file)
    except NginxSyntaxError as error:
        raise NginxSiteError(f"The configuration that nginx accepts could not be read: {error}.") from error
    return Tested(
        "", tuple(servers(directives)), tuple(http_includes(directives, build.main_file)), directives
    )


def places(build: Build, name: str) -> list[Place]:
    """Where a site of this name may live: Debian's pair of folders, conf.d, or what others call that."""
    file = f"{name}.conf"
    return [
        Place(
            os.path.join(build.folder, "sites-available", file),
            os.path.join(build.folder, "sites-enabled", file),
        ),
        *(Place(os.path.join(build.folder, folder, file)) for folder in ("conf.d", "http.d", "vhosts.d")),
    ]


def find_place(tested: Tested, build: Build, name: str, is_wanted: bool = True) -> Place | None:
    """Where a site of this name belongs on this host.

    The folder of the first include that nginx has: sites-enabled with sites-available beside it (Debian),
    else conf.d or what other distributions call it. With a broken configuration, or where no site is wanted
    and nginx reads no such folder: where its file is.
    """
    possible = places(build, name)
    if not tested.fault:
        for place in possible:
            if os.path.isdir(os.path.dirname(place.file)) and any(
                matches(include, place.seen) for include in tested.includes
            ):
                return place
        if is_wanted:
            raise NginxSiteError(
                f"{build.main_file} includes no folder for sites: put 'include {build.folder}/conf.d/*.conf;'"
                " into its http block. Nothing was changed."
            )
    return next((place for place in possible if os.path.lexists(place.file)), None)


def already_broken(fault: str) -> str:
    """Why an nginx that does not accept its present configuration is left alone."""
    return (
        f"nginx is already broken by something that is not ours: {fault}. It keeps serving what it loaded "
        "before, but a restart would take all its sites down. Correct that first."
    )


def is_running(host: Host, build: Build, tested: Tested, service: str) -> bool:
    """Somebody serves: the unit is active, or the process of the pid file is alive."""
    if host.run(["systemctl", "is-active", "--quiet", service]).ok:
        return True
    named_file = [line.arguments[0] for line in named(tested.directives, "pid") if line.arguments]
    number = (read_text((named_file or [build.process_file])[0]) or "").strip()
    return number.isdigit() and os.path.exists(f"/proc/{number}")


def reload(host: Host, service: str) -> None:
    """Tell nginx to read its configuration again; never a restart."""
    by_unit = host.run(["systemctl", "is-active", "--quiet", service]).ok
    done = host.run(["systemctl", "reload", service] if by_unit else ["nginx", "-s", "reload"])
    if not done.ok:
        raise NginxSiteError(f"nginx could not be reloaded: {done.said}.")


def error_log(build: Build, tested: Tested) -> str:
    """The file in which the master process says why it did not take a configuration; '' when it has none."""
    configured = [line.arguments[0] for line in named(tested.directives, "error_log") if line.arguments]
    path = (configured or [build.error_log])[0]
    return path if path.startswith("/") else ""


def shared_logs(build: Build, directives: Iterable[Directive], own: Place) -> set[str]:
    """The log files that nginx writes for others than our site."""
    found = {build.error_log, build.access_log}
    for directive in directives:
        if directive.file not in (own.seen, own.file):
            if directive.name in ("access_log", "error_log"):
                found.update(directive.arguments[:1])
            found |= shared_logs(build, directive.block or (), own)
    return found


def effective(listen: Listen, everyone: Iterable[Server]) -> Listen:
    """The listen with the options of its socket, which one server sets for all."""
    shared = {
        option
        for server in everyone
        for other in server.listens
        if other.socket == listen.socket
        for option in other.options
        if option in {"ssl", "proxy_protocol", "ipv6only=off"}
    }
    return Listen(listen.address, listen.port, listen.options | shared)


def _protocol_warnings(ours: Server, everyone: Sequence[Server], build: Build) -> list[str]:
    """The first server of a socket decides its TLS protocols: tell if they are not ours."""
    usual = DEFAULT_PROTOCOLS if build.version >= (1, 23, 4) else OLD_DEFAULT_PROTOCOLS
    deciders: dict[Server, list[str]] = {}
    for listen in ours.listens:
        decider = default_server(everyone, listen.socket)
        if "ssl" not in effective(listen, everyone).options:
            continue
        if decider is not None and set(decider.protocols or usual) != set(ours.protocols or usual):
            deciders.setdefault(decider, []).append(f"{listen.address}:{listen.port}")
    return [
        f"{decider.place} decides the TLS protocols of {' and '.join(sockets)} for every site there: "
        f"{' '.join(decider.protocols or usual)} instead of our {' '.join(ours.protocols)}."
        for decider, sockets in deciders.items()
    ]


def warnings(ours: Server, everyone: Sequence[Server], build: Build) -> list[str]:
    """What is not wrong, but the operator should know of our server on the sockets it shares."""
    alone = [
        f"{listen.address}:{listen.port}"
        for listen in ours.listens
        if default_server(everyone, listen.socket) == ours
    ]
    found = _protocol_warnings(ours, everyone, build)
    if alone:
        found.append(
            f"No other site listens on {' and '.join(alone)}, so ours also answers for unknown names."
        )
    found += [
        f"{decider.place} has the PROXY protocol on {listen.address}:{listen.port}, which holds for our site"
        " too: this host's own requests to it fail. Name an address that takes them in lk_jwt_service_hosts."
        for listen in ours.listens
        if "proxy_protocol" in effective(listen, everyone).options
        for decider in [default_server(everyone, listen.socket)]
        if decider not in (None, ours)
    ]
    held = {listen.socket for listen in ours.listens}
    ports = {port for _address, port in held}
    found += [
        f"{server.place} listens on {listen.address}:{listen.port} itself: requests to that address never "
        "reach our site. Add it to the addresses that our site listens on."
        for server in everyone
        for listen in server.listens
        if server != ours and listen.port in ports and listen.socket not in held
    ]
    return found


def connection_warning(tested: Tested, host: Host, wanted: int) -> str:
    """A sentence when nginx may hold fewer connections than wanted, else ''."""
    each = DEFAULT_CONNECTIONS
    for events in named(tested.directives, "events"):
        for line in named(events.block or (), "worker_connections"):
            each = int(line.arguments[0])
    workers = [line.arguments[0] for line in named(tested.directives, "worker_processes")]
    count = int(workers[0]) if workers and workers[0].isdigit() else (host.processors if workers else 1)
    if each * count >= wanted:
        return ""
    return (
        f"nginx may hold {each * count} connections (worker_connections {each}, {count} workers), and the "
        f"expected number of participants needs {wanted}: raise worker_connections."
    )
