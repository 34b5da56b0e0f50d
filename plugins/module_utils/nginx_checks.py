# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What is asked of an nginx before and after its configuration changes: our own site, and the others."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .nginx_config import Directive, Listen, NginxSyntaxError, Server, parse, servers
from .nginx_host import Host, NginxSiteError, effective
from .nginx_probe import Answer, Request

PROBE_SECONDS = 5.0  # until our site, or a foreign one, has to answer as it should
BACKEND_SECONDS = 1.0  # until nobody behind our site counts as nobody; a reload answers wrongly for 0.1 s
FOREIGN_SITES = 20  # how many of the other sites are compared
FOREIGN_SECONDS = 10.0  # and how long it may take to ask all of them
PAUSE = 0.1
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


def refuse_clash(own: Sequence[Server], foreign: Iterable[Server]) -> None:
    """Of two servers with one name nginx silently ignores the later: refuse, and name the other."""
    ports = {listen.port for server in own for listen in server.listens}
    names = {name for server in own for name in server.names}
    is_everywhere = any(listen.address == "*" for server in own for listen in server.listens)
    for server in foreign:
        shared = ports & {listen.port for listen in server.listens}
        clash = names & set(server.names)
        if clash and shared:
            raise NginxSiteError(
                f"{server.place} already serves {min(clash)} on port {min(shared)}, and nginx would "
                "ignore one of the two sites. Remove that name from it first."
            )
        for listen in server.listens:
            if is_everywhere and listen.port in ports and listen.address.startswith(("127.", "localhost")):
                raise NginxSiteError(
                    f"{server.place} listens on {listen.address}:{listen.port} itself, so requests from "
                    "this host would never reach our site. Remove that listen first."
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


def _first_page(server: Server, everyone: Sequence[Server]) -> Request | None:
    """A request for the first page of a server by a name it really has, over TLS if it can."""
    names = [name.lstrip(".") for name in server.names if name.strip(".") and not set(name) & set("*~_$")]
    listens = sorted(
        (effective(listen, everyone) for listen in server.listens),
        key=lambda listen: "ssl" not in listen.options,
    )
    return Request(listens[0], names[0]) if names and listens else None


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


def _request(probe: Probe, host: Host, listen: Listen, name: str) -> Request | None:
    """The request of a probe; None when the host has no address that it could come from."""
    source = host.outgoing_address() if probe.source == "outside" else ""
    if probe.source == "outside" and (not source or source == listen.target or ":" in listen.target):
        return None
    return Request(listen, name, probe.path, probe.method, probe.body, source)


def probe_site(host: Host, probes: Iterable[Probe], listen: Listen, name: str) -> list[Asked]:
    """Ask our site all its questions until every answer is right, or time is up."""
    started = host.clock()
    requests = [(probe, _request(probe, host, listen, name)) for probe in probes]
    asked = [Asked(probe, request, host.ask(request)) for probe, request in requests if request is not None]
    while any(one.fault for one in asked):
        is_only_behind = all(one.is_backend_down for one in asked if one.fault)
        if host.clock() - started > (BACKEND_SECONDS if is_only_behind else PROBE_SECONDS):
            break
        host.sleep(PAUSE)
        asked = [Asked(one.probe, one.request, host.ask(one.request)) if one.fault else one for one in asked]
    return asked
