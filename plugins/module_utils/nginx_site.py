# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""A site of our own in an nginx that is somebody else's: staged, tested, loaded, probed, or taken back.

The protocol: nginx must accept its configuration before we touch it; what the other sites answer is written
down; our file is put in place and the whole configuration is tested; nginx is reloaded, never restarted, and
must show the new revision; our site is probed and the others are asked again. If anything is worse than
before, the file that was there comes back. A record in the state folder lets the next run take back what a
killed one left half done.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .files import diff_entry, read_bytes, remove_file
from .nginx_checks import (
    PAUSE,
    Asked,
    Probe,
    ask_sites,
    missing_files,
    parsed,
    probe_site,
    refuse_clash,
    refuse_first_place,
    refuse_stream,
    servers_of,
    worse_sites,
)
from .nginx_config import Listen, Server
from .nginx_files import Files, begin, end, interrupted, on_disk, put, wanted
from .nginx_host import (
    COMPLAINT,
    Build,
    Host,
    NginxSiteError,
    Place,
    Tested,
    already_broken,
    connection_warning,
    effective,
    error_log,
    features,
    find_place,
    is_running,
    places,
    read_build,
    reload,
    render,
    shared_logs,
    test,
    warnings,
)
from .nginx_probe import Answer, Request

REVISION_MARK = "@revision@"
REVISION = re.compile(r"[0-9a-f]{16}\Z")
LONGEST_WAIT = 10.0  # seconds for nginx to show the new revision
# Where things are on a host whose nginx is gone, and so cannot tell.
WITHOUT_NGINX = Build(
    version=(0, 0, 0),
    openssl=(0, 0),
    main_file="/etc/nginx/nginx.conf",
    error_log="/var/log/nginx/error.log",
    process_file="",
    access_log="/var/log/nginx/access.log",
)
ROTATED = r"(?:[.-][0-9][0-9.-]*)?(?:\.[a-z0-9]+)?"  # .1, .2.gz, -20261120.gz
HTTPS = 443


@dataclass(frozen=True)
class Wish:
    """What the site is to be. `content` None means that there is to be no site of this name.

    `logs`: the files that it writes; they go with the site, as far as no other site writes them. `keep_on`: a
    site without content stays where it listens on none but these sockets, such as '*:443'.
    """

    name: str
    state_folder: str
    content: str | None = None
    server_name: str = ""
    probes: tuple[Probe, ...] = ()
    revision_path: str = ""
    service: str = "nginx"
    port: int = HTTPS
    connections: int = 0
    logs: tuple[str, ...] = ()
    keep_on: tuple[str, ...] = ()
    check_mode: bool = False


@dataclass
class Outcome:
    """What was done. `probes`: {probe, status} of our own site; `foreign`: how many others were compared."""

    changed: bool = False
    file: str = ""
    revision: str = ""
    diff: list[dict[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    probes: list[dict[str, Any]] = field(default_factory=list)
    foreign: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The shape in which the module returns it; Ansible shows the warnings itself."""
        return {name: value for name, value in vars(self).items() if name != "warnings"}


# The running nginx ----------------------------------------------------------------------------------------


def _own(tested: Tested, place: Place) -> list[Server]:
    return [server for server in tested.servers if server.file in (place.seen, place.file)]


def _foreign(tested: Tested, place: Place) -> list[Server]:
    return [server for server in tested.servers if server.file not in (place.seen, place.file)]


def _own_listen(tested: Tested, place: Place) -> Listen | None:
    """The socket on which our site is asked; IPv4 first."""
    listens = [
        effective(listen, tested.servers) for server in _own(tested, place) for listen in server.listens
    ]
    return min(listens, key=lambda listen: ":" in listen.target, default=None)


def _written_listen(files: Files) -> Listen | None:
    """The socket of a site as its file has it, for a configuration that nginx does not accept."""
    try:
        own = servers_of(parsed(files.content or "", files.place.file))
    except NginxSiteError:
        return None
    return next((listen for server in own for listen in server.listens), None)


def _ask_revision(wish: Wish, host: Host, listen: Listen | None) -> Answer:
    """What the revision page of our site answers; a text that is no revision counts as none."""
    if listen is None or not wish.revision_path:
        return Answer(0, error="it has no revision page")
    answer = host.ask(Request(listen, wish.server_name, wish.revision_path))
    is_ours = answer.status == 200 and REVISION.match(answer.body)
    return answer if is_ours else Answer(answer.status, answer.headers, "", answer.error)


def _fault_of_revision(wish: Wish, host: Host, listen: Listen | None, revision: str) -> str:
    """Wait until nginx serves this revision ('' = none of ours); what it says instead when it never does."""
    deadline = host.clock() + LONGEST_WAIT
    while True:
        answer = _ask_revision(wish, host, listen)
        if answer.body == revision:
            return ""
        if host.clock() > deadline:
            where = f"{listen.target}:{listen.port}" if listen else "no socket"
            return f"its revision page on {where} gives {answer.body or answer}"
        host.sleep(PAUSE)


def _complaints(path: str, offset: int) -> str:
    """What the master process wrote about a reload that it did not carry out."""
    said = (read_bytes(path) if path else None) or b""
    told = COMPLAINT.search(said[offset:].decode("utf-8", "replace"))
    return f": {told.group(1)} {told.group(2)}" if told else ""


def _judge(outcome: Outcome, asked: Sequence[Asked]) -> None:
    """Raise NginxSiteError for answers of our site that are the proxy's fault; warn of the others."""
    outcome.probes = [{"probe": str(one.probe), "status": one.answer.status} for one in asked]
    down = {
        f"{one.probe.backend} (the proxy says {one.answer})"
        for one in asked
        if one.fault and one.is_backend_down
    }
    outcome.warnings += [
        f"The site is in place, but nobody answers behind it: {who}." for who in sorted(down)
    ]
    wrong = [one.fault for one in asked if one.fault and not one.is_backend_down]
    if wrong:
        raise NginxSiteError(f"Our own site does not answer as it should: {'; '.join(wrong)}.")


# The change -----------------------------------------------------------------------------------------------


@dataclass
class _Change:
    """One change on its way: what was found, what is wanted, and how far it came."""

    wish: Wish
    host: Host
    build: Build
    before: Tested
    found: Files
    wanted: Files
    revision: str
    outcome: Outcome
    old_listen: Listen | None = None
    old_revision: str = ""
    is_reloaded: bool = False
    new_logs: list[str] = field(default_factory=list)
    recorded: list[tuple[Request, Answer]] = field(default_factory=list)

    def carry_out(self) -> None:
        """Do it, or take it back and raise NginxSiteError with what was wrong and what became of it."""
        place = self.wanted.place
        self.recorded = ask_sites(self.host, _foreign(self.before, place), self.before.servers)
        self.outcome.foreign = len(self.recorded)
        own_logs = set(self.wish.logs) - shared_logs(self.build, self.before.directives, place)
        self.new_logs = [path for path in own_logs if not os.path.lexists(path)]
        begin(self.wish.state_folder, self.wish.name, self.found)
        try:
            put(self.wanted)
            self._load(self._staged())
        except (NginxSiteError, OSError) as fault:
            raise NginxSiteError(f"{fault} {self._take_back()}") from fault
        end(self.wish.state_folder, self.wish.name)

    def _staged(self) -> Tested:
        """The whole configuration with our change in it, accepted by nginx."""
        tested = test(self.host, self.build)
        if tested.fault and self.before.fault:
            raise NginxSiteError(already_broken(self.before.fault))
        if tested.fault:
            raise NginxSiteError(f"nginx refuses its configuration with our site in it: {tested.fault}.")
        own = _own(tested, self.wanted.place)
        if self.wanted.content is not None and not own:
            raise NginxSiteError(f"nginx does not read {self.wanted.place.seen}.")
        foreign = _foreign(tested, self.wanted.place)
        refuse_clash(own, self.before.servers, foreign)
        refuse_first_place(own, tested.servers, foreign, self.before.servers)
        return tested

    def _load(self, staged: Tested) -> None:
        """Have nginx serve what is on disk, and see that nothing is worse for it."""
        place = self.wanted.place
        listen = self.old_listen if self.wanted.content is None else _own_listen(staged, place)
        log = error_log(self.build, staged)
        offset = os.path.getsize(log) if log and os.path.exists(log) else 0
        self.is_reloaded = True
        reload(self.host, self.wish.service)
        fault = _fault_of_revision(self.wish, self.host, listen, self.revision)
        if fault:
            raise NginxSiteError(
                f"nginx did not take the new configuration within {LONGEST_WAIT:g} s"
                f"{_complaints(log, offset)} ({fault})."
            )
        if self.wanted.content is not None and listen is not None:
            _judge(self.outcome, probe_site(self.host, self.wish.probes, listen, self.wish.server_name))
            self._warn(staged)
        worse = worse_sites(self.host, self.recorded)
        if worse:
            raise NginxSiteError(
                f"Other sites of this nginx became worse with the change: {'; '.join(worse)}."
            )

    def _warn(self, staged: Tested) -> None:
        for server in _own(staged, self.wanted.place):
            self.outcome.warnings += warnings(server, staged.servers, self.build)
        self.outcome.warnings += filter(None, [connection_warning(staged, self.host, self.wish.connections)])

    def _take_back(self) -> str:
        """Put back what was found, and say how that went. If nginx does not follow, the record stays."""
        put(self.found)
        if self.is_reloaded:
            tested = test(self.host, self.build)
            if tested.fault:
                return f"The files that were there are back, but nginx does not accept them: {tested.fault}."
            reload(self.host, self.wish.service)
            if _fault_of_revision(self.wish, self.host, self.old_listen, self.old_revision):
                return "The files that were there are back, but nginx did not load them again."
        for path in self.new_logs:  # a mere test of the configuration makes them
            remove_file(path)
        end(self.wish.state_folder, self.wish.name)
        worse = worse_sites(self.host, self.recorded) if self.is_reloaded else []
        if worse:
            return f"What was there is back, but other sites are still worse: {'; '.join(worse)}."
        return (
            "What was there is back in place."
            if self.is_reloaded
            else "Nothing was changed; nginx was not reloaded."
        )


def _content(wish: Wish, host: Host, build: Build, foreign: Sequence[Server]) -> tuple[str | None, str]:
    """The content for this host and its revision, (None, '') for no site."""
    if wish.content is None:
        return None, ""
    text = render(wish.content, features(build, host, foreign, wish.port))
    revision = hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
    is_marked = REVISION_MARK in text and wish.revision_path
    return text.replace(REVISION_MARK, revision), revision if is_marked else ""


def _check_content(change: _Change) -> None:
    """Refuse what can be told before anything is written. In check mode missing files may be yet to come."""
    content = change.wanted.content
    if content is None:
        return
    directives = parsed(content, change.wanted.place.file)
    try:
        own = servers_of(directives)
        refuse_stream(change.before.directives, own)
        refuse_clash(own, change.before.servers, _foreign(change.before, change.wanted.place))
    except NginxSiteError as fault:
        raise NginxSiteError(f"{fault} Nothing was changed.") from fault
    missing = missing_files(directives)
    if missing and not change.wish.check_mode:
        raise NginxSiteError(
            f"Files of the site do not exist on this host: {', '.join(missing)}. Nothing was changed."
        )


def _without_nginx(wish: Wish) -> Outcome:
    """A host that has no nginx can only have files left over."""
    if wish.content is not None:
        raise NginxSiteError(
            "nginx is not installed on this host. Install and start it (on Debian: apt install nginx); "
            "the site is added to the nginx that is there. Nothing was changed."
        )
    outcome = Outcome()
    _clear(wish, WITHOUT_NGINX, None, outcome)
    _clear_logs(wish, {WITHOUT_NGINX.error_log, WITHOUT_NGINX.access_log}, outcome)
    if not wish.check_mode:
        end(wish.state_folder, wish.name)
    return outcome


def _clear(wish: Wish, build: Build, but: Place | None, outcome: Outcome) -> None:
    """Remove what is left of the site in folders that nginx does not read."""
    for place in places(build, wish.name):
        if place != but and (os.path.lexists(place.file) or os.path.lexists(place.link)):
            outcome.changed = True
            if not wish.check_mode:
                put(wanted(place, None))


def _clear_logs(wish: Wish, shared: set[str], outcome: Outcome) -> None:
    """Remove the logs of a site that is gone, with what logrotate made of them, but never those of others."""
    for path in set(wish.logs) - shared:
        pattern = re.compile(re.escape(os.path.basename(path)) + ROTATED)
        folder = os.path.dirname(path)
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            if pattern.fullmatch(name):
                outcome.changed = True
                if not wish.check_mode:
                    remove_file(os.path.join(folder, name))


def _prepared(wish: Wish, host: Host, build: Build, before: Tested, place: Place) -> _Change:
    """What there is and what is wanted."""
    content, revision = _content(wish, host, build, _foreign(before, place))
    outcome = Outcome(file=place.file, revision=revision)
    change = _Change(wish, host, build, before, on_disk(place), wanted(place, content), revision, outcome)
    listen = _own_listen(before, place)
    if before.fault and change.found.content is not None:
        listen = _written_listen(change.found) or _written_listen(change.wanted)
    change.old_listen = listen
    change.old_revision = _ask_revision(wish, host, listen).body
    return change


def apply(wish: Wish, host: Host | None = None) -> Outcome:
    """Bring the site about. Raises NginxSiteError, which says what is wrong and what became of the host."""
    host = host or Host()
    build = read_build(host)
    if build is None:
        return _without_nginx(wish)
    killed = interrupted(wish.state_folder, wish.name)
    if killed is not None and not wish.check_mode:
        put(killed)
    before = test(host, build)
    place = find_place(before, build, wish.name, wish.content is not None)
    if place is None and wish.content is None:
        return _cleared(wish, build, before, None, Outcome())
    if place is None:
        raise NginxSiteError(f"{already_broken(before.fault)} Nothing was changed.")
    if wish.content is None and wish.keep_on and _listens_only(_own(before, place), wish.keep_on):
        return Outcome(file=place.file)
    if not wish.server_name:  # whoever takes a site out need not know what it was called
        names = [name for server in _own(before, place) for name in server.names]
        wish = replace(wish, server_name=names[0] if names else wish.name)
    change = _prepared(wish, host, build, before, place)
    outcome = change.outcome
    if change.found != change.wanted or killed is not None or change.old_revision != change.revision:
        outcome = _carried_out(change)
    elif before.fault:
        outcome.warnings.append(already_broken(before.fault))
    return _cleared(wish, build, before, place, outcome) if wish.content is None else outcome


def _listens_only(own: Sequence[Server], sockets: Sequence[str]) -> bool:
    return all(f"{one.address}:{one.port}" in sockets for server in own for one in server.listens)


def _cleared(wish: Wish, build: Build, before: Tested, place: Place | None, outcome: Outcome) -> Outcome:
    """Remove what else there is of a site that is gone, as far as nginx tells whose it is."""
    if before.fault:
        outcome.warnings += [] if outcome.warnings else [already_broken(before.fault)]
        return outcome
    _clear(wish, build, place, outcome)
    _clear_logs(wish, shared_logs(build, before.directives, place or Place("")), outcome)
    return outcome


def look(wish: Wish, address: str, host: Host | None = None) -> Outcome:
    """Ask the site of a proxy that is not ours, as after a change of our own. Changes nothing."""
    host = host or Host()
    outcome = Outcome()
    listen = Listen(f"[{address}]" if ":" in address else address, HTTPS, frozenset({"ssl"}))
    _judge(outcome, probe_site(host, wish.probes, listen, wish.server_name, is_elsewhere=True))
    return outcome


def _carried_out(change: _Change) -> Outcome:
    """Carry the change out, or say what it would be."""
    wish, host, outcome = change.wish, change.host, change.outcome
    _check_content(change)
    is_served = is_running(host, change.build, change.before, wish.service)
    if not is_served and wish.content is not None:
        raise NginxSiteError(
            f"nginx is not running on this host: start it with 'systemctl start {wish.service}' and see "
            f"'journalctl -u {wish.service}' if it does not. Nothing was changed."
        )
    outcome.changed = True
    if change.found.content != change.wanted.content:
        outcome.diff = [
            diff_entry(change.found.place.file, change.found.content or "", change.wanted.content or "")
        ]
    if wish.check_mode:
        return outcome
    if is_served:
        change.carry_out()
    else:
        put(change.wanted)
        end(wish.state_folder, wish.name)
    return outcome
