"""A web app is installed file by file as it was published, or not at all."""

from __future__ import annotations

import gzip
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils import artifact
from ansible_collections.matrixrtc.backend.plugins.module_utils.artifact import Program, install, remove
from ansible_collections.matrixrtc.backend.plugins.module_utils.release_source import ArtifactError, Source
from test_artifact import FakeSite, archive_of, everything, sha256

FILES = {"index.html": b"<title>", "assets/a.js": b"let a;" * 500, "assets/a.png": b"png" * 1000}
URL = "https://mirror.test/app-1.0.0"


def publish(
    site: FakeSite, files: dict[str, bytes] | None = None, listed: dict[str, bytes] | None = None
) -> Source:
    """A release as Element Call has it: an archive with one folder, and a list of what is in it."""
    files = FILES if files is None else files
    site.pages[f"{URL}.tar.gz"] = archive_of({f"app-1.0.0/{name}": data for name, data in files.items()})
    text = "".join(f"{sha256(data)}  app-1.0.0/{name}\n" for name, data in (listed or files).items())
    site.pages[f"{URL}.sha256"] = text.encode()
    return Source(url=f"{URL}.tar.gz", contents_url=f"{URL}.sha256")


@pytest.fixture
def site() -> FakeSite:
    return FakeSite()


@pytest.fixture
def app(tmp_path: Path) -> Program:
    return Program("app", "1.0.0", str(tmp_path / "app"), "index.html", archive=True, tree=True)


def refused(app: Program, source: Source, site: FakeSite) -> str:
    before = everything(app)
    with pytest.raises(ArtifactError) as caught:
        install(app, source, site)
    assert everything(app) == before
    assert not [name for name in os.listdir(app.install_dir) if name.startswith(artifact.TEMPORARY)]
    return str(caught.value)


def test_all_files_are_there_and_readable_and_those_worth_it_compressed(app: Program, site: FakeSite) -> None:
    outcome = install(app, publish(site), site)
    assert (outcome.action, outcome.after) == ("installed", "1.0.0")
    for name, data in FILES.items():
        path = Path(app.path("current", name))
        assert path.read_bytes() == data
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert gzip.decompress(Path(app.path("current", "assets/a.js.gz")).read_bytes()) == FILES["assets/a.js"]
    assert not Path(app.path("current", "assets/a.png.gz")).exists()
    assert stat.S_IMODE(os.stat(app.path("1.0.0", "assets")).st_mode) == 0o755


def test_a_second_run_needs_no_network_and_a_changed_file_is_repaired(app: Program, site: FakeSite) -> None:
    source = publish(site)
    install(app, source, site)
    site.asked.clear()
    assert (install(app, source, site).action, site.asked) == ("none", [])
    for damage in ("assets/a.js", "assets/a.js.gz", "more.js"):
        Path(app.path("1.0.0", damage)).write_text("something else")
        assert install(app, source, site).action == "installed"
        assert Path(app.path("current", "assets/a.js")).read_bytes() == FILES["assets/a.js"]
        assert not Path(app.path("current", "more.js")).exists()


@pytest.mark.parametrize(
    ("files", "listed", "said"),
    [
        ({**FILES, "index.html": b"<evil>"}, FILES, "altered: index.html"),
        ({**FILES, "more.js": b""}, FILES, "not listed: more.js"),
        ({"index.html": b"<title>"}, FILES, "missing: assets/a.js, assets/a.png"),
        ({"../index.html": b""}, FILES, "nothing but files in one folder"),
        ({"app.html": b""}, {"app.html": b""}, "a file index.html in the archive, found none"),
    ],
)
def test_an_archive_that_is_not_what_its_list_says_is_refused(
    app: Program, site: FakeSite, files: dict[str, bytes], listed: dict[str, bytes], said: str
) -> None:
    install(replace(app, version="0.9.0"), publish(site), site)
    assert said in refused(app, publish(site, files, listed), site)


def test_an_empty_list_verifies_nothing(app: Program, site: FakeSite) -> None:
    source = publish(site)
    site.pages[f"{URL}.sha256"] = b"<html>not found</html>"
    os.makedirs(app.install_dir)
    assert "Expected a list of files" in refused(app, source, site)


def test_the_checksum_of_the_archive_counts_besides(app: Program, site: FakeSite) -> None:
    source = publish(site)
    os.makedirs(app.install_dir)
    assert "is not the released file" in refused(app, replace(source, sha256="0" * 64), site)
    right = sha256(site.pages[source.url])
    assert install(app, replace(source, sha256=right), site).sha256 == right


def test_it_goes_whole(app: Program, site: FakeSite) -> None:
    install(app, publish(site), site)
    assert remove(app).action == "removed"
    assert not os.path.exists(app.install_dir)
