# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Install a released program: verified, into a folder of its own, switched to with one rename.

Below the install folder:

    1.13.5/livekit-server       the program
    1.13.5/.artifact.json       what it came from; written last, so a folder that has it is whole
    current -> 1.13.5           what runs
    previous -> 1.13.4          what ran before, never pruned

Another build of the same version goes to `1.13.5+<start of its checksum>`, so that a link's target always
says which program is behind it, and going back means putting a link back.

A program that is in place with its recorded checksum needs no network. Anything that is missing, cut short,
altered or does not run leaves what is installed as it is.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

from .files import atomic_write, read_bytes, remove_file
from .release_source import ArtifactError, Site, Source, contents, expected, file_sha256, obtain, unpack
from .release_tree import compress_tree, listed, tree_sha256, unpack_tree, verify_tree

RECORD = ".artifact.json"
CURRENT = "current"
PREVIOUS = "previous"
TEMPORARY = ".incoming-"
FOLDER_MODE = 0o755
SMOKE_SECONDS = 10.0
SMOKE_USER = "nobody"  # a program nobody has run yet does not get root's rights
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.~-]*\Z")


@dataclass(frozen=True)
class Program:
    """What to install. `smoke`: arguments that make it print `smoke_expect` (a regular expression).

    `tree`: the release is an archive of a whole folder, all of which is installed; `binary` is a file in it.
    """

    name: str
    version: str
    install_dir: str
    binary: str
    archive: bool = False
    tree: bool = False
    member: str = ""
    keep: int = 2
    smoke: tuple[str, ...] = ()
    smoke_expect: str = ""

    def path(self, *parts: str) -> str:
        return os.path.join(self.install_dir, *parts)


@dataclass(frozen=True)
class Record:
    """What a folder holds: the release, the checksum of what was downloaded and that of the program in it."""

    version: str
    sha256: str
    binary_sha256: str
    origin: str


@dataclass
class Outcome:
    """`action` is none, installed (from the release), switched (to a kept folder), pruned or removed."""

    changed: bool = False
    action: str = "none"
    before: str = ""  # the folder that `current` pointed to
    after: str = ""
    sha256: str = ""
    pruned: list[str] = field(default_factory=list)


def predict(program: Program, source: Source) -> Outcome:
    """What `install` would do; nothing is written and no network is used."""
    outcome = Outcome(before=_link_target(program, CURRENT))
    folder = _find(program, source)
    outcome.after = folder or program.version
    stays = outcome.before == outcome.after
    previous = _link_target(program, PREVIOUS) if stays else outcome.before
    outcome.pruned = _superfluous(program, outcome.after, previous)
    if not folder:
        outcome.action = "installed"
    elif folder != outcome.before:
        outcome.action = "switched"
    elif outcome.pruned:
        outcome.action = "pruned"
    outcome.changed = outcome.action != "none"
    return outcome


def install(program: Program, source: Source, site: Site) -> Outcome:
    """Have `current` point to the wanted version. Raises ArtifactError and OSError, with nothing replaced."""
    outcome = predict(program, source)
    if outcome.action == "installed":
        try:
            outcome.after = _fetch(program, source, site)
        except ArtifactError as error:
            stays = f"Nothing was replaced: {outcome.before or 'no version'} of {program.name} is in place."
            raise ArtifactError(f"{program.name} {program.version}: {error} {stays}") from None
    if outcome.action in ("installed", "switched"):
        _switch(program, outcome.after)
    outcome.pruned = _superfluous(program, outcome.after, _link_target(program, PREVIOUS))
    _drop(program, outcome.pruned)
    record = _record(program, outcome.after)
    outcome.sha256 = record.sha256 if record else ""
    return outcome


def remove(program: Program, dry: bool = False) -> Outcome:
    """Remove every version and link; the folder, and empty ones above it, go when nothing else is left."""
    ours = _folders(program)
    links = [name for name in (CURRENT, PREVIOUS) if os.path.islink(program.path(name))]
    there = bool(ours or links or _leftovers(program))
    outcome = Outcome(there, "removed" if there else "none", before=_link_target(program, CURRENT))
    if dry or not there:
        return outcome
    _drop(program, [*links, *_leftovers(program), *ours])
    with contextlib.suppress(OSError):  # not empty: somebody else's
        os.rmdir(program.install_dir)
        os.rmdir(os.path.dirname(program.install_dir))
    return outcome


# What is there -------------------------------------------------------------------------------------


def _folders(program: Program) -> list[str]:
    """Our version folders, the newest first. A folder without a record is what a killed run left."""
    try:
        names = os.listdir(program.install_dir)
    except FileNotFoundError:
        return []
    found = [name for name in names if stat.S_ISDIR(os.lstat(program.path(name)).st_mode)]
    return sorted(found, key=lambda name: os.stat(program.path(name)).st_mtime, reverse=True)


def _leftovers(program: Program) -> list[str]:
    if not os.path.isdir(program.install_dir):
        return []
    return [name for name in os.listdir(program.install_dir) if name.startswith(TEMPORARY)]


def _link_target(program: Program, link: str) -> str:
    """The folder a link points to, '' when there is none."""
    path = program.path(link)
    return os.readlink(path) if os.path.islink(path) else ""


def _record(program: Program, folder: str) -> Record | None:
    raw = read_bytes(program.path(folder, RECORD))
    if raw is None:
        return None
    try:
        return Record(**json.loads(raw))
    except (ValueError, TypeError):
        return None


def _find(program: Program, source: Source) -> str:
    """The folder that holds the wanted release, whole and unaltered, `current` first; '' if there is none."""
    current = _link_target(program, CURRENT)
    names = _folders(program)
    for name in sorted(names, key=lambda name: name != current):
        record = _record(program, name)
        if record is None or record.version != program.version:
            continue
        if source.sha256 and source.sha256.lower() != record.sha256:
            continue
        if _installed_sha256(program, name) == record.binary_sha256:
            return name
    return ""


def _installed_sha256(program: Program, folder: str) -> str:
    """The checksum of the program in one of our folders, '' when it is not there."""
    if program.tree:
        return tree_sha256(program.path(folder), but=RECORD)
    return file_sha256(program.path(folder, program.binary))


def _superfluous(program: Program, current: str, previous: str) -> list[str]:
    """Folders beyond the number to keep, and leftovers. What runs and what ran before are always kept."""
    kept = {current, previous} - {""}
    others = [name for name in _folders(program) if name not in kept]
    beyond = others[max(program.keep - len(kept), 0) :]
    running = _running(program) if beyond else set()
    return [*(name for name in beyond if name not in running), *_leftovers(program)]


def _running(program: Program) -> set[str]:
    """The folders that some process runs from: with deferred restarts it may be one before the previous."""
    found = set()
    for process in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # it ended, or is a kernel thread
            program_file = os.readlink(f"/proc/{process}/exe")
            if program_file.startswith(program.path("")):
                found.add(os.path.relpath(program_file, program.install_dir).split("/")[0])
    return found


def _drop(program: Program, names: Sequence[str]) -> None:
    """Remove links, files and folders below the install folder."""
    for name in names:
        path = program.path(name)
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            remove_file(path)


# Getting it ----------------------------------------------------------------------------------------


def _fetch(program: Program, source: Source, site: Site) -> str:
    """Download, verify, unpack, try and place the release; returns its folder's name."""
    _make_folder(program.install_dir)
    _drop(program, _leftovers(program))
    with _temporary(program) as artifact:
        found = _obtained(program, source, site, artifact)
        if program.tree:
            return _fetch_tree(program, source, site, artifact, found)
        with _temporary(program) as binary:
            if program.archive:
                unpack(artifact, program.member or program.binary, binary)
            else:
                os.replace(artifact, binary)
            os.chmod(binary, FOLDER_MODE)
            _smoke(program, site, binary)
            return _place(program, binary, Record(program.version, found, file_sha256(binary), source.place))


def _obtained(program: Program, source: Source, site: Site, artifact: str) -> str:
    """Have the release in `artifact`; its checksum, which is right unless every file in it has one."""
    wanted, said_by = ("", "") if program.tree and not source.sha256 else expected(source, site)
    found = obtain(source, site, artifact)
    if wanted and found != wanted:
        sums = f"Expected sha256 {wanted} ({said_by}), found {found}."
        raise ArtifactError(f"{source.place} is not the released file. {sums}")
    return found


def _fetch_tree(program: Program, source: Source, site: Site, artifact: str, found: str) -> str:
    """Unpack a whole folder beside its place, verify every file in it, and put it there with one rename."""
    text, said_by = contents(source, site)
    incoming = tempfile.mkdtemp(prefix=TEMPORARY, dir=program.install_dir)
    try:
        unpack_tree(artifact, incoming)
        verify_tree(incoming, listed(text), said_by)
        if not os.path.isfile(os.path.join(incoming, program.binary)):
            raise ArtifactError(f"Expected a file {program.binary} in the archive, found none.")
        compress_tree(incoming)
        record = Record(program.version, found, tree_sha256(incoming), source.place)
        atomic_write(os.path.join(incoming, RECORD), json.dumps(asdict(record)).encode(), mode=0o644)
        os.chmod(incoming, FOLDER_MODE)
        folder = _folder_for(program, record)
        _drop(program, [folder])
        os.replace(incoming, program.path(folder))
        return folder
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


@contextlib.contextmanager
def _temporary(program: Program) -> Iterator[str]:
    """A file on the file system of the install folder, gone afterwards unless it was renamed."""
    descriptor, path = tempfile.mkstemp(prefix=TEMPORARY, dir=program.install_dir)
    os.close(descriptor)
    try:
        yield path
    finally:
        remove_file(path)


# Putting it in place -------------------------------------------------------------------------------


def _smoke(program: Program, site: Site, binary: str) -> None:
    """The program must be able to run here and say who it is before it replaces one that does."""
    if not program.smoke:
        return
    ran = site.run([binary, *program.smoke], SMOKE_SECONDS, SMOKE_USER)
    if not re.search(program.smoke_expect, ran.output):
        found = ran.output.strip() or f"nothing (exit status {ran.status})"
        what = " ".join([program.binary, *program.smoke])
        raise ArtifactError(f"Expected '{what}' to print {program.smoke_expect}, found: {found}.")


def _place(program: Program, binary: str, record: Record) -> str:
    """Move the program into its folder and say so in its record, which makes the folder whole."""
    folder = _folder_for(program, record)
    _make_folder(program.path(folder))
    _sync(binary)
    os.replace(binary, program.path(folder, program.binary))
    atomic_write(program.path(folder, RECORD), json.dumps(asdict(record)).encode(), mode=0o644)
    return folder


def _folder_for(program: Program, record: Record) -> str:
    there = _record(program, program.version)
    if there is None or there.sha256 == record.sha256:
        return program.version  # new, half made, or damaged: the same release repairs it
    return f"{program.version}+{record.sha256[:12]}"


def _switch(program: Program, folder: str) -> None:
    """Point `current` to the folder, remembering what it pointed to. Each link changes with one rename.

    It is made anew even if it points there: a repaired program is then newer than a process of the broken
    one, which is how `applied_service` knows.
    """
    before = _link_target(program, CURRENT)
    if before and before != folder and os.path.isdir(program.path(before)):
        _point(program.path(PREVIOUS), before)
    _point(program.path(CURRENT), folder)


def _point(link: str, target: str) -> None:
    temporary = os.path.join(os.path.dirname(link), f"{TEMPORARY}{os.path.basename(link)}")
    remove_file(temporary)
    os.symlink(target, temporary)
    os.replace(temporary, link)
    _sync(os.path.dirname(link))


def _make_folder(path: str) -> None:
    """Create a folder and those above it, readable by all whatever the umask."""
    if os.path.isdir(path):
        return
    _make_folder(os.path.dirname(path))
    os.mkdir(path)
    os.chmod(path, FOLDER_MODE)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
