"""A release is installed whole and verified, or what is in place stays in place."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils import artifact
from ansible_collections.matrixrtc.backend.plugins.module_utils.artifact import (
    Program,
    install,
    predict,
    remove,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.release_source import (
    ArtifactError,
    DownloadError,
    Source,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.service_host import Ran

BASE = "https://mirror.test/livekit/livekit/releases/download"
API = "https://mirror.test/repos/element-hq/lk-jwt-service/releases/tags"


class KilledError(BaseException):
    """The run was killed here."""


@dataclass
class FakeBody:
    data: bytes
    length: int | None
    at: int = 0

    def read(self, size: int) -> bytes:
        chunk = self.data[self.at : self.at + size]
        self.at += size
        return chunk


@dataclass
class FakeSite:
    """A mirror, and programs that print what is in their file."""

    pages: dict[str, bytes] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    outages: int = 0
    asked: list[str] = field(default_factory=list)
    users: list[str] = field(default_factory=list)

    @contextmanager
    def open(self, url: str) -> Iterator[FakeBody]:
        self.asked.append(url)
        if self.outages:
            self.outages -= 1
            raise DownloadError("status 503 Service Unavailable")
        if url not in self.pages:
            raise DownloadError("status 404 Not Found", temporary=False)
        data = self.pages[url]
        yield FakeBody(data[: self.cut.get(url, len(data))], len(data))

    def run(self, argv: Sequence[str], timeout: float | None = None, user: str = "") -> Ran:
        self.users.append(user)
        return Ran(0, Path(argv[0]).read_text())

    def sleep(self, seconds: float) -> None:
        return None


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def archive_of(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def publish(site: FakeSite, version: str, program: str = "") -> Source:
    """Put a LiveKit release on the mirror, the way upstream lays it out."""
    name = f"livekit_{version}_linux_amd64.tar.gz"
    content = (program or f"livekit-server version {version}").encode()
    data = archive_of({"LICENSE": b"Apache", "livekit-server": content})
    folder = f"{BASE}/v{version}"
    site.pages[f"{folder}/{name}"] = data
    site.pages[f"{folder}/checksums.txt"] = f"{'0' * 64}  other.tar.gz\n{sha256(data)}  {name}\n".encode()
    return Source(url=f"{folder}/{name}", checksums_url=f"{folder}/checksums.txt")


@pytest.fixture
def site() -> FakeSite:
    return FakeSite()


@pytest.fixture
def livekit(tmp_path: Path) -> Program:
    return Program(
        name="livekit",
        version="1.13.5",
        install_dir=str(tmp_path / "opt" / "livekit"),
        binary="livekit-server",
        archive=True,
        smoke=("--version",),
        smoke_expect=r"version 1\.13",
    )


def running(program: Program) -> str:
    return Path(program.path("current", program.binary)).read_text()


def names(program: Program) -> set[str]:
    return set(os.listdir(program.install_dir))


def upgrade(program: Program, site: FakeSite, *versions: str) -> Program:
    for version in versions:
        program = replace(program, version=version)
        install(program, publish(site, version), site)
    return program


def everything(program: Program) -> dict[Path, bytes | str]:
    paths = [path for path in Path(program.install_dir).rglob("*") if path.is_symlink() or path.is_file()]
    return {path: os.readlink(path) if path.is_symlink() else path.read_bytes() for path in paths}


def refused(program: Program, source: Source, site: FakeSite) -> str:
    """The error of an installation that must leave everything as it was."""
    before = everything(program)
    with pytest.raises(ArtifactError) as caught:
        install(program, source, site)
    assert everything(program) == before
    return str(caught.value)


def test_install_then_nothing_and_no_network(livekit: Program, site: FakeSite) -> None:
    source = publish(site, "1.13.5")
    outcome = install(livekit, source, site)
    assert (outcome.changed, outcome.action, outcome.after) == (True, "installed", "1.13.5")
    assert running(livekit) == "livekit-server version 1.13.5"
    assert os.readlink(livekit.path("current")) == "1.13.5"
    assert site.users == ["nobody"]
    site.asked.clear()
    again = install(livekit, source, site)
    assert (again.changed, again.action, site.asked) == (False, "none", [])
    assert again.sha256 == sha256(site.pages[source.url])


def test_readable_by_all_whatever_the_umask(livekit: Program, site: FakeSite) -> None:
    before = os.umask(0o077)
    try:
        install(livekit, publish(site, "1.13.5"), site)
    finally:
        os.umask(before)
    modes = {name: stat.S_IMODE(os.stat(livekit.path(name)).st_mode) for name in (".", "1.13.5", "..")}
    assert set(modes.values()) == {0o755}
    assert stat.S_IMODE(os.stat(livekit.path("current", "livekit-server")).st_mode) == 0o755


def test_upgrade_keeps_two_and_goes_back_without_network(livekit: Program, site: FakeSite) -> None:
    upgrade(livekit, site, "1.13.4", "1.13.5", "1.13.6")
    assert names(livekit) == {"1.13.5", "1.13.6", "current", "previous"}
    site.asked.clear()
    back = replace(livekit, version="1.13.5")
    outcome = install(back, publish(site, "1.13.5"), site)
    assert (outcome.action, running(back), site.asked) == ("switched", "livekit-server version 1.13.5", [])
    assert os.readlink(livekit.path("previous")) == "1.13.6"


def test_version_that_ran_before_is_kept_even_if_a_newer_one_failed(livekit: Program, site: FakeSite) -> None:
    """1.13.5 failed its health check, so applied_service put the link back to 1.13.4; then 1.13.6 comes."""
    upgrade(livekit, site, "1.13.4", "1.13.5")
    os.unlink(livekit.path("current"))
    os.symlink("1.13.4", livekit.path("current"))
    upgrade(livekit, site, "1.13.6")
    assert names(livekit) == {"1.13.4", "1.13.6", "current", "previous"}


def test_what_runs_is_never_pruned(livekit: Program, site: FakeSite) -> None:
    """With deferred restarts the process may be two versions behind."""
    upgrade(livekit, site, "1.13.3")
    shutil.copy("/bin/sleep", livekit.path("1.13.3", "sleeper"))
    process = subprocess.Popen([livekit.path("1.13.3", "sleeper"), "60"])
    try:
        upgrade(livekit, site, "1.13.4", "1.13.5")
        assert "1.13.3" in names(livekit)
    finally:
        process.kill()
        process.wait()
    assert install(livekit, publish(site, "1.13.5"), site).pruned == ["1.13.3"]


# refusals ------------------------------------------------------------------------------------------


def test_altered_download(livekit: Program, site: FakeSite) -> None:
    upgrade(livekit, site, "1.13.4")
    source = publish(site, "1.13.5")
    wanted = sha256(site.pages[source.url])
    site.pages[source.url] = site.pages[source.url][:-1] + b"x"
    text = refused(livekit, source, site)
    assert f"Expected sha256 {wanted} (says {source.checksums_url})" in text
    assert f"found {sha256(site.pages[source.url])}" in text
    assert "1.13.4 of livekit is in place" in text


def test_download_cut_short(livekit: Program, site: FakeSite) -> None:
    upgrade(livekit, site, "1.13.4")
    source = publish(site, "1.13.5")
    site.cut[source.url] = 100
    whole = len(site.pages[source.url])
    assert f"Expected {source.url} to be downloaded whole, found: 100 of {whole} bytes." in refused(
        livekit, source, site
    )
    assert site.asked.count(source.url) == 3


def test_missing_download_is_not_asked_for_again(livekit: Program, site: FakeSite) -> None:
    upgrade(livekit, site, "1.13.4")
    source = publish(site, "1.13.5")
    del site.pages[source.url]
    assert "found: status 404 Not Found" in refused(livekit, source, site)
    assert site.asked.count(source.url) == 1


def test_an_outage_that_ends_does_no_harm(livekit: Program, site: FakeSite) -> None:
    site.outages = 2
    assert install(livekit, publish(site, "1.13.5"), site).action == "installed"


def test_first_install_that_fails_says_that_nothing_is_there(livekit: Program, site: FakeSite) -> None:
    with pytest.raises(ArtifactError, match="no version of livekit is in place"):
        install(livekit, replace(publish(site, "1.13.5"), checksums_url=f"{BASE}/none"), site)
    assert names(livekit) == set()


def test_program_that_does_not_run_is_not_installed(livekit: Program, site: FakeSite) -> None:
    upgrade(livekit, site, "1.13.4")
    text = refused(livekit, publish(site, "1.13.5", "Exec format error"), site)
    assert r"Expected 'livekit-server --version' to print version 1\.13, found: Exec format error" in text


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (archive_of({"README": b""}), "Expected a file 'livekit-server' in the archive, found README"),
        (archive_of({"../livekit-server": b"x", "etc/livekit-server": b"x"}), "found ../livekit-server, etc"),
        (b"<html>not found</html>", "Expected an archive that can be unpacked"),
        (archive_of({"livekit-server": os.urandom(5000)})[:3000], "Expected an archive that can be unpacked"),
    ],
    ids=["other content", "other paths", "a web page", "cut but signed so"],
)
def test_archives_that_are_something_else(livekit: Program, site: FakeSite, data: bytes, told: str) -> None:
    upgrade(livekit, site, "1.13.4")
    source = replace(publish(site, "1.13.5"), sha256=sha256(data))
    site.pages[source.url] = data
    assert told in refused(livekit, source, site)


def test_a_link_in_an_archive_is_no_program(livekit: Program, site: FakeSite) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        entry = tarfile.TarInfo("livekit-server")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/shadow"
        tar.addfile(entry)
    upgrade(livekit, site, "1.13.4")
    source = replace(publish(site, "1.13.5"), sha256=sha256(stream.getvalue()))
    site.pages[source.url] = stream.getvalue()
    assert "Expected a file 'livekit-server'" in refused(livekit, source, site)


def test_full_disk_leaves_no_rest(livekit: Program, site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    upgrade(livekit, site, "1.13.4")

    def full(path: str, *given: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifact, "unpack", full)
    with pytest.raises(OSError, match="No space left"):
        install(livekit, publish(site, "1.13.5"), site)
    assert names(livekit) == {"1.13.4", "current"}


# who says which checksum ---------------------------------------------------------------------------


def bare(tmp_path: Path) -> Program:
    return Program("lk-jwt-service", "0.8.0", str(tmp_path / "jwt"), "lk-jwt-service")


def bare_source(site: FakeSite, digest: str) -> Source:
    url = f"{BASE}/v0.8.0/lk-jwt-service_linux_amd64"
    site.pages[url] = b"a token service"
    assets = [{"name": "other", "digest": None}, {"name": "lk-jwt-service_linux_amd64", "digest": digest}]
    site.pages[f"{API}/v0.8.0"] = json.dumps({"assets": assets}).encode()
    return Source(url=url, api_url=f"{API}/v0.8.0")


def test_digest_of_the_release_api(tmp_path: Path, site: FakeSite) -> None:
    program = bare(tmp_path)
    install(program, bare_source(site, f"sha256:{sha256(b'a token service')}"), site)
    assert running(program) == "a token service"


@pytest.mark.parametrize("digest", ["", "md5:00", "sha256:00"])
def test_release_without_a_digest(tmp_path: Path, site: FakeSite, digest: str) -> None:
    with pytest.raises(ArtifactError, match=r"Expected a sha256 digest of .* Set its sha256"):
        install(bare(tmp_path), bare_source(site, digest), site)


@pytest.mark.parametrize("answer", [b"{}", b"[]", b"<html>", b'{"assets": [1]}'])
def test_release_api_that_answers_something_else(tmp_path: Path, site: FakeSite, answer: bytes) -> None:
    source = bare_source(site, "")
    site.pages[source.api_url] = answer
    with pytest.raises(ArtifactError, match=r"as JSON at .*, found neither"):
        install(bare(tmp_path), source, site)


def test_set_checksum_goes_first_and_asks_nobody(tmp_path: Path, site: FakeSite) -> None:
    source = replace(bare_source(site, "sha256:" + "0" * 64), sha256=sha256(b"a token service").upper())
    install(bare(tmp_path), source, site)
    assert site.asked == [source.url]


def test_no_checksum_no_install(tmp_path: Path, site: FakeSite) -> None:
    with pytest.raises(ArtifactError, match="Set its sha256"):
        install(bare(tmp_path), replace(bare_source(site, ""), api_url=""), site)
    assert site.asked == []


def test_local_folder_needs_no_network(livekit: Program, site: FakeSite, tmp_path: Path) -> None:
    source = publish(site, "1.13.5")
    file, sums = tmp_path / "livekit_1.13.5_linux_amd64.tar.gz", tmp_path / "checksums.txt"
    file.write_bytes(site.pages[source.url])
    sums.write_bytes(site.pages[source.checksums_url].replace(b"  livekit", b" *./livekit"))
    install(livekit, Source(local_file=str(file), checksums_file=str(sums)), site)
    assert (running(livekit), site.asked) == ("livekit-server version 1.13.5", [])
    assert file.exists()


@pytest.mark.parametrize("missing", ["local_file", "checksums_file"])
def test_local_folder_that_lacks_a_file(
    livekit: Program, site: FakeSite, tmp_path: Path, missing: str
) -> None:
    sums = tmp_path / "checksums.txt"
    sums.write_text(f"{'0' * 64}  livekit.tar.gz\n")
    source = Source(local_file=str(tmp_path / "livekit.tar.gz"), checksums_file=str(sums))
    if missing == "checksums_file":
        sums.unlink()
    with pytest.raises(ArtifactError, match=r"no such file|no checksum list"):
        install(livekit, source, site)


def test_another_build_of_the_version_gets_its_own_folder(livekit: Program, site: FakeSite) -> None:
    """So that the link's target tells them apart, and the first build can be gone back to."""
    install(livekit, publish(site, "1.13.5"), site)
    source = publish(site, "1.13.5", "rebuilt, version 1.13.5")
    rebuilt = replace(source, sha256=sha256(site.pages[source.url]))
    folder = install(livekit, rebuilt, site).after
    assert folder == f"1.13.5+{rebuilt.sha256[:12]}"
    assert running(livekit) == "rebuilt, version 1.13.5"
    assert install(livekit, rebuilt, site).changed is False
    assert install(livekit, source, site).changed is False


def test_altered_program_is_repaired_and_the_link_is_new(livekit: Program, site: FakeSite) -> None:
    source = publish(site, "1.13.5")
    install(livekit, source, site)
    link = os.lstat(livekit.path("current")).st_ino
    Path(livekit.path("1.13.5", "livekit-server")).write_text("altered")
    assert install(livekit, source, site).action == "installed"
    assert running(livekit) == "livekit-server version 1.13.5"
    assert os.lstat(livekit.path("current")).st_ino != link
    assert names(livekit) == {"1.13.5", "current"}


# killed runs, check mode, removal ------------------------------------------------------------------


@pytest.mark.parametrize("step", ["unpack", "_smoke", "_place", "atomic_write", "_switch", "_drop", "_point"])
def test_a_killed_run_is_finished_by_the_next(
    livekit: Program, site: FakeSite, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    upgrade(livekit, site, "1.13.3", "1.13.4")
    source = publish(site, "1.13.5")

    def killed(*given: object, **named: object) -> None:
        monkeypatch.setattr(artifact, "remove_file", lambda path: False)  # a dead process cleans nothing up
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(artifact, step, killed)
        with pytest.raises(KilledError):
            install(livekit, source, site)
        assert running(livekit) in ("livekit-server version 1.13.4", "livekit-server version 1.13.5")
    monkeypatch.undo()
    install(livekit, source, site)
    assert running(livekit) == "livekit-server version 1.13.5"
    assert names(livekit) == {"1.13.4", "1.13.5", "current", "previous"}
    assert install(livekit, source, site).changed is False


def test_check_mode_uses_no_network_and_writes_nothing(livekit: Program, site: FakeSite) -> None:
    source = publish(site, "1.13.5")
    assert (predict(livekit, source).changed, predict(livekit, source).action) == (True, "installed")
    assert not os.path.exists(livekit.install_dir)
    install(livekit, source, site)
    site.asked.clear()
    assert predict(livekit, source).changed is False
    assert site.asked == []


def test_remove_leaves_nothing_and_spares_strangers(livekit: Program, site: FakeSite, tmp_path: Path) -> None:
    upgrade(livekit, site, "1.13.4", "1.13.5")
    assert remove(livekit, dry=True).changed is True
    assert "current" in names(livekit)
    assert remove(livekit).action == "removed"
    assert not (tmp_path / "opt").exists()
    assert remove(livekit).changed is False
    upgrade(livekit, site, "1.13.5")
    Path(livekit.path("notes.txt")).write_text("mine")
    remove(livekit)
    assert names(livekit) == {"notes.txt"}
