# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What is asked of an nginx before and after its configuration changes: our own site, and the others."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from .nginx_config import (
    Directive,
    Listen,
    NginxSyntaxError,
    Server,
    default_server,
    listen_of,
    named,
    parse,
    servers,
)
from .nginx_host import Host, NginxSiteError, effective
from .nginx_probe import Answer, Request

PROBE_SECONDS = 5.0  # until our site, or a foreign one, has to answer as it should
BACKEND_SECONDS = 1.0  # until nobody behind our site counts as nobody; a reload answers wrongly for 0.1 s
PATIENT_SECONDS = 7.0  # a site may try a service again for a while before it says that nobody is behind it
FOREIGN_SITES = 20  # how many of the other sites are compared
FOREIGN_SECONDS = 10.0  # and how long it may take to ask all of them
PAUSE = 0.1
UNKNOWN_LABEL = "matrixrtc-unknown"  # the first label of a name that no site has
BACKEND_DOWN = (502, 503, 504)


@dataclass(frozen=True)
class Probe:
    """A question to our own site and the answers that are right.

    `source`: 'local', or 'outside' for a request that does not come from the address it goes to, skipped
    where the host has no address to ask from. `header_counts`: how often headers must be in the answer.
    `backend`: who answers behind nginx; when nobody does, that is no fault of the site.
    """

    path: str
    status: tuple[int, ...]
    method: str = "GET"
    body: str = ""
    source: str = "local"
    backend: str = ""
    header_counts: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {self.path}" + (" from outside" if self.source == "outside" else "")

    def fault(self, answer: Answer) -> str:
        """What is wrong with an answer, as a clause; '' when it is right."""
        if answer.status not in self.status:
            return f"{self} gives {answer} instead of {' or '.join(str(status) for status in self.status)}"
        for header, wanted in self.header_counts.items():
            if answer.count(header) != wanted:
                return f"{self} has {answer.count(header)} times the header {header} instead of {wanted}"
        return ""

    def is_backend_down(self, answer: Answer) -> bool:
        """nginx answers, and says that nobody behind it does."""
        return bool(self.backend) and answer.status in BACKEND_DOWN and answer.status not in self.status


@dataclass(frozen=True)
class Asked:
    """A probe with the request it became, and the last answer to it."""

    probe: Probe
    request: Request
    answer: Answer

    @property
    def fault(self) -> str:
        """What is wrong with the answer, '' when it is right."""
        return self.probe.fault(self.answer)

    @property
    def is_backend_down(self) -> bool:
        """The fault lies behind nginx."""
        return self.probe.is_backend_down(self.answer)


# What a site may say --------------------------------------------------------------------------------------


def parsed(content: str, path: str) -> tuple[Directive, ...]:
    """The directives of a site; raises NginxSiteError when they are none."""
    try:
        return parse(content, path)
    except NginxSyntaxError as error:
        raise NginxSiteError(
            f"The content of the site is not an nginx configuration: {error}. Nothing was changed."
        ) from error


def servers_of(directives: tuple[Directive, ...]) -> list[Server]:
    """The servers of a file that is included into an http block."""
    return servers([Directive("http", (), directives, "", 0)])


def missing_files(directives: Iterable[Directive]) -> list[str]:
    """What TLS directives name and the host does not have, such as 'ssl_certificate /x'."""
    found: list[str] = []
    for directive in directives:
        found += missing_files(directive.block or ())
        if directive.name in ("ssl_certificate", "ssl_certificate_key"):
            found += [
                f"{directive.name} {path}"
                for path in directive.arguments
                if path.startswith("/") and not os.path.isfile(path)
            ]
    return found


def refuse_clash(own: Sequence[Server], before: Sequence[Server], foreign: Sequence[Server]) -> None:
    """Refuse names and sockets that nginx would ignore or could not open; `before` has all its sites."""
    ports = {listen.port for server in own for listen in server.listens}
    names = {name for server in own for name in server.names}
    for server in foreign:
        shared = ports & {listen.port for listen in server.listens}
        clash = names & set(server.names)
        if clash and shared:
            raise NginxSiteError(
                f"{server.place} already serves {min(clash)} on port {min(shared)}, and nginx would "
                "ignore one of the two sites. Remove that name from it first."
            )
    for port in sorted(ports):
        _refuse_sockets(own, before, foreign, port)


def _refuse_sockets(
    own: Sequence[Server], before: Sequence[Server], foreign: Sequence[Server], port: int
) -> None:
    """Of the sites on single addresses: those that take loopback from us, or keep nginx from opening ours."""
    wanted = {listen.socket for server in own for listen in server.on(port)}
    held = {listen.socket for server in before for listen in server.on(port)}
    for server in foreign:
        for listen in server.on(port):
            wildcard = ("[::]" if ":" in listen.address else "*", port)
            if listen.socket in wanted or listen.is_wildcard or wildcard not in wanted:
                continue
            if listen.address.startswith(("127.", "localhost")):
                fault = "itself, so requests from this host would never reach our site"
            elif wildcard not in held:
                fault = (
                    f"alone, and nginx cannot open {wildcard[0]}:{port} beside that socket without a restart"
                )
            else:
                continue
            raise NginxSiteError(
                f"{server.place} listens on {listen.address}:{port} {fault}. {advice(own, foreign, port)}"
            )


def advice(own: Sequence[Server], foreign: Sequence[Server], port: int) -> str:
    """What to set where other sites listen on single addresses: theirs, and loopback for the host itself."""
    theirs = {listen.address.strip("[]") for server in foreign for listen in server.on(port)}
    ours = {listen.address.strip("[]") for server in own for listen in server.on(port)}
    single = theirs - {"*", "::"}
    addresses = {address for address in single if _is_address(address)}
    has_old, has_new = (any((":" in one) == new for one in addresses) for new in (False, True))
    addresses |= {"0.0.0.0"} if "*" in theirs or ("*" in ours and not has_old) else set()  # noqa: S104
    addresses |= {"127.0.0.1"} if "*" not in theirs and has_old else set()
    addresses |= {"::"} if "::" in ours and ("::" in theirs or not has_new) else set()
    return f"Set nginx_proxy_listen_addresses to {sorted(addresses)}."


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def refuse_stream(directives: Iterable[Directive], own: Sequence[Server]) -> None:
    """A stream of the same nginx that has our port passes every connection on before any site sees it."""
    wishes = [listen for server in own for listen in server.listens]
    for block in named(directives, "stream"):
        for server in named(block.block or (), "server"):
            for listen in filter(None, (listen_of(one) for one in named(server.block or (), "listen"))):
                if "udp" not in listen.options and any(listen.meets(ours) for ours in wishes):
                    raise NginxSiteError(
                        f"{server.place} passes connections to port {listen.port} on as a stream, so no site "
                        "can listen there. Free the port, or set nginx_proxy_mode to external for snippets "
                        "of other proxies."
                    )


def refuse_first_place(
    own: Sequence[Server], after: Sequence[Server], foreign: Sequence[Server], before: Sequence[Server]
) -> None:
    """Whoever answers for unknown names goes on doing so: the first site of a socket, where none asked to.

    That may be a site of ours already, before another one of ours.
    """
    for server in own:
        for listen in server.listens:
            answering = default_server(before, listen.socket)
            if answering in foreign and answering and default_server(after, listen.socket) in own:
                raise NginxSiteError(
                    f"{answering.place} answers for unknown names on {listen.address}:{listen.port} because "
                    "it is the first site there, and ours would come before it. Add default_server to its "
                    "listen."
                )


# The other sites ------------------------------------------------------------------------------------------


def _rank(status: int) -> int:
    """How bad an answer is: a page (0), a refusal (1), an error of the server (2), no answer (3)."""
    if not status:
        return 3
    return 2 if status >= 500 else int(status >= 400)


def is_worse(before: Answer, after: Answer) -> bool:
    """A site that answered answers less well, or refuses in another way (another site has taken its name)."""
    is_other_refusal = _rank(before.status) == _rank(after.status) == 1 and before.status != after.status
    return _rank(after.status) > _rank(before.status) or is_other_refusal


def _asked_name(server: Server, everyone: Sequence[Server]) -> str:
    """A name to ask a server by; one that nobody has for whoever answers those; '' for none."""
    for name in server.names:
        plain = name.lstrip(".").replace("*", UNKNOWN_LABEL)
        if plain.strip("_") and not set(plain) & set("~$"):
            return plain
    answers_unknown = any(default_server(everyone, listen.socket) == server for listen in server.listens)
    return f"{UNKNOWN_LABEL}.invalid" if answers_unknown else ""


def _first_page(server: Server, everyone: Sequence[Server]) -> Request | None:
    """A request for the first page of a server, over TLS if it can."""
    name = _asked_name(server, everyone)
    listens = sorted(
        (effective(listen, everyone) for listen in server.listens),
        key=lambda listen: "ssl" not in listen.options,
    )
    return Request(listens[0], name) if name and listens else None


def ask_sites(
    host: Host, foreign: Iterable[Server], everyone: Sequence[Server]
) -> list[tuple[Request, Answer]]:
    """What the other sites answer on their first page, for a bounded number and time."""
    deadline = host.clock() + FOREIGN_SECONDS
    seen: dict[tuple[str, int], tuple[Request, Answer]] = {}
    for request in filter(None, (_first_page(server, everyone) for server in foreign)):
        if len(seen) >= FOREIGN_SITES or host.clock() > deadline:
            break
        key = (request.name, request.listen.port)
        if key not in seen:
            seen[key] = (request, host.ask(request))
    return list(seen.values())


def worse_sites(host: Host, recorded: Sequence[tuple[Request, Answer]]) -> list[str]:
    """Those of the other sites that stay worse than they were, as clauses."""
    deadline = host.clock() + PROBE_SECONDS
    left = list(recorded)
    while True:
        now = [(request, before, host.ask(request)) for request, before in left]
        bad = [(request, before, after) for request, before, after in now if is_worse(before, after)]
        if not bad or host.clock() > deadline:
            return [
                f"{request.name}:{request.listen.port} answered {before} before and {after} now"
                for request, before, after in bad
            ]
        left = [(request, before) for request, before, _after in bad]
        host.sleep(PAUSE)


# Our own site ---------------------------------------------------------------------------------------------


def _request(probe: Probe, host: Host, listen: Listen, name: str, is_elsewhere: bool) -> Request | None:
    """The request of a probe; None when the host has no address that it could come from."""
    is_loopback = listen.target.startswith("127.") or listen.target == "::1"
    if probe.source == "outside":
        source = host.outgoing_address() if is_loopback or not is_elsewhere else ""
        if not source or source == listen.target or ":" in listen.target:
            return None
    elif is_elsewhere and not is_loopback:
        source = "::" if ":" in listen.target else "0.0.0.0"  # noqa: S104
    else:
        source = ""
    timeout = PATIENT_SECONDS if probe.backend else Request.timeout
    return Request(listen, name, probe.path, probe.method, probe.body, source, timeout)


def probe_site(
    host: Host, probes: Iterable[Probe], listen: Listen, name: str, is_elsewhere: bool = False
) -> list[Asked]:
    """Ask our site all its questions until every answer is right, or time is up.

    `is_elsewhere`: another host may be the one that answers, and take every address of ours for a near one.
    """
    started = host.clock()
    requests = [(probe, _request(probe, host, listen, name, is_elsewhere)) for probe in probes]
    asked = [Asked(probe, request, host.ask(request)) for probe, request in requests if request is not None]
    while any(one.fault for one in asked):
        is_only_behind = all(one.is_backend_down for one in asked if one.fault)
        if host.clock() - started > (BACKEND_SECONDS if is_only_behind else PROBE_SECONDS):
            break
        host.sleep(PAUSE)
        asked = [Asked(one.probe, one.request, host.ask(one.request)) if one.fault else one for one in asked]
    return asked
