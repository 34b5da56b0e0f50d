"""Element Call's package becomes what upstream releases, and links to a call say who is who."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from lab import call_links, definitions, npm
from lab.errors import LabError
from lab.users import User


def test_the_package_becomes_an_archive_with_one_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def npm_pack(command: list[str], **_options: object) -> str:
        folder = next(word.partition("=")[2] for word in command if word.startswith("--pack-destination"))
        assert command[-1] == "@element-hq/element-call-embedded@0.26.1"
        with tarfile.open(Path(folder) / "package.tgz", "w:gz") as archive:
            for name in ("package/package.json", "package/dist/index.html", "package/dist/assets/a.js"):
                member = tarfile.TarInfo(name)
                member.size = len(name)
                archive.addfile(member, io.BytesIO(name.encode()))
        return ""

    monkeypatch.setattr(npm, "run", npm_pack)
    target = tmp_path / "element-call-embedded-0.26.1.tar.gz"
    npm.pack_element_call("0.26.1", target)
    first = target.read_bytes()
    with tarfile.open(target) as archive:
        names = archive.getnames()
    top = "element-call-embedded-0.26.1"
    assert names == [f"{top}/assets/a.js", f"{top}/index.html"]
    digest = hashlib.sha256(b"package/dist/index.html").hexdigest()
    assert f"{digest}  {top}/index.html\n" in npm.contents_list(target)
    npm.pack_element_call("0.26.1", target)
    assert target.read_bytes() == first


def test_a_machine_without_npm_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npm.shutil, "which", lambda _name: None)
    monkeypatch.setattr(npm, "may_install", lambda: False)
    with pytest.raises(LabError, match=r"install Node\.js and npm"):
        npm.ensure(None)  # type: ignore[arg-type]


def test_a_link_says_who_where_and_into_which_room() -> None:
    (site,) = definitions.load().labs["demo"].sites
    alice = User("@alice:lab.test", "a token", "DEVICE", "")
    link = call_links.link(site, alice, "!room:lab.test")
    assert link.startswith("https://chat.lab.test/#homeserver=https%3A%2F%2Fmatrix.lab.test&user=%40alice")
    text = call_links.text("demo", site, "192.0.2.4", "192.0.2.0/24", [link])
    assert link in text
    assert "MAP *.lab.test 192.0.2.4" in text
    assert "ca.crt" in text


def test_only_a_lab_with_the_page_has_a_browser() -> None:
    labs = definitions.load().labs
    assert labs["element_call"].has_call_page
    assert not labs["default"].has_call_page
