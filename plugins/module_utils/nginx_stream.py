# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Our `stream` block in an nginx that is somebody else's: put in place, tested and loaded, or taken back.

The same protocol as for a site (nginx_site), in nginx's main context. One of its servers says on a port of
loopback which revision is loaded.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass

from .files import diff_entry
from .nginx_checks import PAUSE, ask_sites, missing_files, parsed, worse_sites
from .nginx_config import Server, main_includes, matches, named, servers
from .nginx_files import Files, begin, end, interrupted, on_disk, put, wanted
from .nginx_host import (
    Build,
    Host,
    NginxSiteError,
    Place,
    Tested,
    already_broken,
    features,
    is_running,
    read_build,
    reload,
    render,
    test,
)
from .nginx_site import LONGEST_WAIT, REVISION_MARK, Outcome

MODULE = "ngx_stream_module"
WAYS_OUT = (
    "Ways out: a second address of this host that no site listens on (matrixrtc_turn_tls: address), TURN "
    "over UDP (matrixrtc_turn_udp), or a relay of somebody else's (matrixrtc_turn_servers)."
)
NO_MODULE = (
    "This nginx cannot pass plain connections on, because it has not loaded its stream module. Install that "
    "(on Debian: apt install libnginx-mod-stream)."
)


@dataclass(frozen=True)
class StreamWish:
    """What the block is to be. `content` None means that there is to be none.

    `keep_on`: with no content, a block that listens on exactly these sockets, such as '192.0.2.7:443', stays.
    `sites`: our own sites, by the names of their files; in check mode they may not have moved yet.
    """

    name: str
    state_folder: str
    content: str | None = None
    keep_on: tuple[str, ...] = ()
    status_port: int = 0
    sites: tuple[str, ...] = ()
    service: str = "nginx"
    check_mode: bool = False


def is_loaded(build: Build, tested: Tested) -> bool:
    """This nginx knows streams: built in, or with the module loaded."""
    loaded = [line.arguments[0] for line in named(tested.directives, "load_module") if line.arguments]
    return build.has_stream or any(MODULE in path for path in loaded)


def find_place(tested: Tested, build: Build, name: str) -> Place | None:
    """A folder that nginx reads in its main context: modules-enabled on Debian, or what else is included.

    With a broken configuration: where our file is, if it is in Debian's folder.
    """
    usual = os.path.join(build.folder, "modules-enabled", f"{name}.conf")
    if tested.fault:
        return Place(usual) if os.path.exists(usual) else None
    for include in main_includes(tested.directives, build.main_file):
        folder = os.path.dirname(include)
        file = os.path.join(folder, f"{name}.conf")
        if folder.startswith(build.folder + os.sep) and os.path.isdir(folder) and matches(include, file):
            return Place(file)
    return None


def in_the_way(own: Iterable[Server], others: Iterable[Server]) -> Server | None:
    """The first of the other servers with a socket that ours cannot be opened beside."""
    wishes = [listen for server in own for listen in server.listens]
    for server in others:
        if any(listen.meets(ours) for ours in wishes for listen in server.listens):
            return server
    return None


def foreign_servers(tested: Tested, sites: Iterable[str] = ()) -> list[Server]:
    """The sites of this nginx that are not in files of these names."""
    ours = {f"{name}.conf" for name in sites}
    return [server for server in tested.servers if os.path.basename(server.file) not in ours]


def refusal(wish: StreamWish, content: str, build: Build, before: Tested, place: Place) -> str:
    """What can be told before anything is written; '' for nothing."""
    if before.fault:
        return already_broken(before.fault)
    directives = parsed(content, place.file)
    if not is_loaded(build, before):
        return NO_MODULE
    if blocks := [block for block in named(before.directives, "stream") if block.file != place.file]:
        return f"{blocks[0].place} has a stream block already, and nginx takes no second one. {WAYS_OUT}"
    own = servers(directives, "stream")
    held = in_the_way(own, foreign_servers(before, wish.sites if wish.check_mode else ()))
    if held is not None:
        is_ours = os.path.basename(held.file) in {f"{site}.conf" for site in wish.sites}
        own_way = "It is our own, from before: run uninstall.yml --tags element_call, then this again."
        way = own_way if is_ours else WAYS_OUT
        return f"{held.place} listens where the TURN relay is to be reached. {way}"
    missing = missing_files(directives)
    if missing and not wish.check_mode:
        return f"Files of the relay do not exist on this host: {', '.join(missing)}."
    return ""


def _await(wish: StreamWish, host: Host, revision: str) -> bool:
    """Nginx says within a while that it has loaded this revision ('' for none)."""
    deadline = host.clock() + LONGEST_WAIT
    while host.status(wish.status_port) != revision:
        if host.clock() > deadline:
            return False
        host.sleep(PAUSE)
    return True


def _carry_out(
    wish: StreamWish, host: Host, build: Build, before: Tested, change: tuple[Files, Files, str]
) -> int:
    """Do it, or take it back and raise NginxSiteError; returns how many sites were compared."""
    found, new, revision = change
    old_revision = host.status(wish.status_port)
    recorded = ask_sites(host, before.servers, before.servers)
    begin(wish.state_folder, wish.name, found)
    try:
        put(new)
        tested = test(host, build)
        if tested.fault:
            raise NginxSiteError(f"nginx refuses its configuration with our stream in it: {tested.fault}.")
        reload(host, wish.service)
        if not _await(wish, host, revision):
            raise NginxSiteError(
                f"nginx did not take the new configuration within {LONGEST_WAIT:g} s; its error log says why."
            )
        if worse := worse_sites(host, recorded):
            raise NginxSiteError(f"Sites of this nginx became worse with the change: {'; '.join(worse)}.")
    except (NginxSiteError, OSError) as fault:
        put(found)
        reload(host, wish.service)
        back = _await(wish, host, old_revision)
        if back:
            end(wish.state_folder, wish.name)
        became = "is back in place" if back else "is back on disk, but nginx did not load it"
        raise NginxSiteError(f"{fault} What was there {became}.") from fault
    end(wish.state_folder, wish.name)
    return len(recorded)


def _sockets(text: str | None, file: str) -> set[str]:
    """Where a block listens for others than this host."""
    if text is None:
        return set()
    found = {listen for server in servers(parsed(text, file), "stream") for listen in server.listens}
    return {
        f"{one.address}:{one.port}" for one in found if not one.target.startswith("127.") or one.is_wildcard
    }


def _rendered(wish: StreamWish, host: Host, build: Build) -> tuple[str | None, str]:
    """The content for this host and its revision."""
    if wish.content is None:
        return None, ""
    text = render(wish.content, features(build, host, (), 443))
    revision = hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
    return text.replace(REVISION_MARK, revision), revision


def apply(wish: StreamWish, host: Host | None = None) -> Outcome:
    """Bring the block about. Raises NginxSiteError, which says what is wrong and what became of the host."""
    host = host or Host()
    build = read_build(host)
    if build is None:
        if wish.content is not None:
            raise NginxSiteError(
                "nginx is not installed on this host (on Debian: apt install nginx). Nothing was changed."
            )
        return Outcome()
    killed = interrupted(wish.state_folder, wish.name)
    if killed is not None and not wish.check_mode:
        put(killed)
    before = test(host, build)
    place = find_place(before, build, wish.name)
    if place is not None:
        return _apply(wish, host, build, before, (place, killed is not None))
    if wish.content is None:
        return Outcome()
    raise NginxSiteError(
        f"{already_broken(before.fault)} Nothing was changed."
        if before.fault
        else f"{build.main_file} includes no folder outside its blocks: put 'include "
        f"{build.folder}/modules-enabled/*.conf;' at its top. Nothing was changed."
    )


def _apply(wish: StreamWish, host: Host, build: Build, before: Tested, where: tuple[Place, bool]) -> Outcome:
    """Compare what is there with what is wanted, and bring that about."""
    place, was_killed = where
    content, revision = _rendered(wish, host, build)
    found, new = on_disk(place), wanted(place, content)
    outcome = Outcome(file=place.file, revision=revision)
    is_kept = content is None and _sockets(found.content, place.file) == set(wish.keep_on) != set()
    is_served = content is None or host.status(wish.status_port) == revision
    if not was_killed and (is_kept or (found == new and is_served)):
        return outcome
    if content is not None:
        fault = refusal(wish, content, build, before, place)
        if not fault and not is_running(host, build, before, wish.service):
            fault = f"nginx is not running: start it with 'systemctl start {wish.service}'."
        if fault:
            raise NginxSiteError(f"{fault} Nothing was changed.")
    outcome.changed = True
    outcome.diff = [diff_entry(place.file, found.content or "", content or "")]
    if not wish.check_mode:
        outcome.foreign = _carry_out(wish, host, build, before, (found, new, revision))
    return outcome
