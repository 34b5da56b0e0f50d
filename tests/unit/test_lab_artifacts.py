# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Where the lab's artifacts come from: upstream, a build, or the user; and how the mirror lays them out."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lab import artifacts, livekit, mirror, store
from lab.artifacts import LIVEKIT, TOKEN_SERVICE, Artifact, Wish
from lab.errors import LabError
from lab.progress import Progress

PROGRAM = "#!/bin/sh\necho livekit-server version 1.13.9\n"
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / "livekit-server"
    file.write_text(PROGRAM)
    file.chmod(0o755)
    return file


@pytest.fixture
def upstream(tmp_path: Path, program: Path) -> Iterator[tuple[str, Path]]:
    """A web server with a release of both components, laid out by the mirror's own code."""
    archive = tmp_path / "archive.tar.gz"
    livekit.pack(program, archive)
    root = tmp_path / "upstream"
    mirror.fill(root, [artifact(LIVEKIT, "1.13.9", archive), artifact(TOKEN_SERVICE, "0.8.0", program)])
    handler = partial(SimpleHTTPRequestHandler, directory=str(root))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", root
    server.shutdown()
    server.server_close()


def artifact(component: artifacts.Component, version: str, file: Path) -> Artifact:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return Artifact(component.name, version, component.asset(version, "amd64"), str(file), digest, "test")


def new_store(tmp_path: Path, url: str) -> store.Store:
    with open(os.devnull, "w") as quiet:
        return store.Store(Progress(quiet), "amd64", tmp_path / "cache", url, url)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Progress, "_print", lambda _self, _text: None)


def test_released_where_upstream_answers(tmp_path: Path, upstream: tuple[str, Path]) -> None:
    url, _root = upstream
    found = new_store(tmp_path, url).obtain(LIVEKIT, [Wish("1.13.9", None)])[0]
    assert found.source == "upstream's release 1.13.9"
    assert found.asset == "livekit_1.13.9_linux_amd64.tar.gz"
    assert livekit.version_of(Path(found.path)) == "1.13.9"
    service = new_store(tmp_path, url).obtain(TOKEN_SERVICE, [])[0]
    assert service.source == "upstream's release 0.8.0"
    assert not service.chosen


def test_a_download_is_kept(tmp_path: Path, upstream: tuple[str, Path]) -> None:
    first = new_store(tmp_path, upstream[0]).obtain(TOKEN_SERVICE, [])
    assert new_store(tmp_path, NOBODY).obtain(TOKEN_SERVICE, []) == first


def test_what_is_kept_may_be_moved(tmp_path: Path, upstream: tuple[str, Path]) -> None:
    new_store(tmp_path, upstream[0]).obtain(TOKEN_SERVICE, [])
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (tmp_path / "cache").rename(moved / "cache")
    found = new_store(moved, NOBODY).obtain(TOKEN_SERVICE, [])[0]
    assert Path(found.path).is_relative_to(moved)


@pytest.mark.parametrize(("component", "version"), [(LIVEKIT, "1.13.9"), (TOKEN_SERVICE, "0.8.0")])
def test_a_damaged_download_is_refused(
    tmp_path: Path, upstream: tuple[str, Path], component: artifacts.Component, version: str
) -> None:
    url, root = upstream
    asset = root / mirror.release_path(component, version) / component.asset(version, "amd64")
    asset.write_bytes(asset.read_bytes() + b"!")
    with pytest.raises(LabError, match="upstream publishes sha256"):
        new_store(tmp_path, url).obtain(component, [Wish(version, None)])


def test_an_asset_without_a_checksum_is_refused(tmp_path: Path, upstream: tuple[str, Path]) -> None:
    url, root = upstream
    answer = root / mirror.api_path(TOKEN_SERVICE, "0.8.0")
    data = json.loads(answer.read_text())
    del data["assets"][0]["digest"]
    answer.write_text(json.dumps(data))
    with pytest.raises(LabError, match="publishes no checksum"):
        new_store(tmp_path, url).obtain(TOKEN_SERVICE, [])


def test_built_where_upstream_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []

    def build(version: str, architecture: str, target: Path) -> None:
        built.append(f"{version} {architecture}")
        target.write_bytes(b"archive")

    monkeypatch.setattr(livekit, "build", build)
    for _time in range(2):
        found = new_store(tmp_path, NOBODY).obtain(LIVEKIT, [Wish("1.13.5", None)])[0]
        assert found.source == "built from Go module v1.13.5"
    assert built == ["1.13.5 amd64"], "the second time it is there"


def test_further_versions_come_after_the_one_that_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(livekit, "build", lambda _version, _architecture, target: target.write_bytes(b"x"))
    here = new_store(tmp_path, NOBODY)
    installed = artifacts.role_version(LIVEKIT)
    without = here.obtain(LIVEKIT, [], ["1.9.11", installed])
    assert [(one.version, one.chosen) for one in without] == [(installed, False), ("1.9.11", False)]
    wished = here.obtain(LIVEKIT, [Wish("1.13.6", None)], ["1.9.11"])
    assert [(one.version, one.chosen) for one in wished] == [("1.13.6", True), ("1.9.11", False)]


def test_the_stand_in_says_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.token_service.build.build", lambda target: target.write_bytes(b"program"))
    found = new_store(tmp_path, NOBODY).obtain(TOKEN_SERVICE, [])[0]
    assert found.source == "lab stand-in (contract of 0.8)"
    assert found.asset == "lk-jwt-service_linux_amd64"


def test_a_changed_stand_in_is_packed_again(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("a = 1\n")
    before = store.stand_in_hash(tmp_path)
    (tmp_path / "app.py").write_text("a = 2\n")
    assert store.stand_in_hash(tmp_path) != before


def test_files_the_user_names(tmp_path: Path, program: Path) -> None:
    here = new_store(tmp_path, NOBODY)
    binary = here.obtain(LIVEKIT, [Wish(None, program)])[0]
    assert (binary.version, binary.chosen) == ("1.13.9", True)
    assert binary.source == "the file livekit-server (LAB_LIVEKIT)"
    with tarfile.open(binary.path) as archive:
        assert archive.getnames() == ["livekit-server", "LICENSE"]
        assert archive.getmember("livekit-server").mode == 0o755
    as_archive = here.obtain(LIVEKIT, [Wish("1.14.0", Path(binary.path))])[0]
    assert as_archive.asset == "livekit_1.14.0_linux_amd64.tar.gz"
    service = here.obtain(TOKEN_SERVICE, [Wish(None, program), Wish("0.9.0", program)])
    assert [one.version for one in service] == [artifacts.role_version(TOKEN_SERVICE), "0.9.0"]


def test_packing_twice_gives_the_same_checksum(tmp_path: Path, program: Path) -> None:
    for name in ("a", "b"):
        livekit.pack(program, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_program_that_does_not_say_its_version(program: Path) -> None:
    program.write_text("#!/bin/sh\necho hello\n")
    with pytest.raises(LabError, match="LAB_LIVEKIT=VERSION="):
        livekit.version_of(program)


def test_what_the_user_can_write(program: Path) -> None:
    assert artifacts.parse_wishes("") == []
    assert artifacts.parse_wishes(f"1.13.6, 1.13.7={program},{program}") == [
        Wish("1.13.6", None),
        Wish("1.13.7", program),
        Wish(None, program),
    ]
    for wrong in ("/nowhere/at/all", "latest", "1.13.6=/nowhere"):
        with pytest.raises(LabError, match="neither a version"):
            artifacts.parse_wishes(wrong)


def test_the_role_decides_about_the_version(tmp_path: Path) -> None:
    assert artifacts.role_version(LIVEKIT, tmp_path) == "1.13.5"
    defaults = tmp_path / "roles" / "livekit" / "defaults" / "main.yml"
    defaults.parent.mkdir(parents=True)
    defaults.write_text('---\nlivekit_version: "1.14.2"\n')
    assert artifacts.role_version(LIVEKIT, tmp_path) == "1.14.2"


def test_the_mirror_is_laid_out_like_upstream(tmp_path: Path, program: Path) -> None:
    server, service = artifact(LIVEKIT, "1.13.5", program), artifact(TOKEN_SERVICE, "0.8.0", program)
    (tmp_path / "mirror" / "old").mkdir(parents=True)
    mirror.fill(tmp_path / "mirror", [server, service])
    files = sorted(
        str(path.relative_to(tmp_path / "mirror"))
        for path in (tmp_path / "mirror").rglob("*")
        if path.is_file()
    )
    assert files == [
        "element-hq/lk-jwt-service/releases/download/v0.8.0/lk-jwt-service_linux_amd64",
        "livekit/livekit/releases/download/v1.13.5/checksums.txt",
        "livekit/livekit/releases/download/v1.13.5/livekit_1.13.5_linux_amd64.tar.gz",
        "repos/element-hq/lk-jwt-service/releases/tags/v0.8.0",
        "repos/livekit/livekit/releases/tags/v1.13.5",
    ]
    release = tmp_path / "mirror" / "livekit/livekit/releases/download/v1.13.5"
    assert (release / "checksums.txt").read_text() == f"{server.sha256}  {server.asset}\n"
    answer = json.loads((tmp_path / "mirror" / mirror.api_path(TOKEN_SERVICE, "0.8.0")).read_text())
    assert answer["tag_name"] == "v0.8.0"
    assert answer["assets"] == [
        {
            "name": "lk-jwt-service_linux_amd64",
            "size": len(PROGRAM),
            "digest": f"sha256:{service.sha256}",
            "browser_download_url": "http://mirror.test/element-hq/lk-jwt-service/releases/download/v0.8.0/lk-jwt-service_linux_amd64",
        }
    ]
    assert not (tmp_path / "mirror" / "old").exists()


def test_a_mirror_file_is_a_copy(tmp_path: Path, program: Path) -> None:
    mirror.fill(tmp_path / "mirror", [artifact(TOKEN_SERVICE, "0.8.0", program)])
    asset = tmp_path / "mirror" / mirror.release_path(TOKEN_SERVICE, "0.8.0") / "lk-jwt-service_linux_amd64"
    asset.write_text("damaged")
    assert program.read_text() == PROGRAM
