"""The lab's ACME authority: what it is told, what an operator is given, and that it is built once."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.inputs_release import proxy_address

from lab.acme import pebble
from lab.progress import Progress


def test_challenges_are_looked_for_where_the_world_looks() -> None:
    settings = json.loads(pebble.configuration())["pebble"]
    assert settings["httpPort"] == 80
    assert settings["profiles"]["default"]["validityPeriod"] < 30 * 86400, "every renewal has to be due"


def test_the_operators_variables_fit_the_services() -> None:
    variables = pebble.variables()
    proxy = urlsplit(proxy_address(variables["matrixrtc_http_proxy"]))
    assert unquote(proxy.password or "") != proxy.password, "a password that has to be encoded"
    assert proxy.port == pebble.PROXY_PORT
    assert urlsplit(str(variables["matrixrtc_acme_directory"])).port == pebble.PORT


def test_pebble_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []

    def go_install(go: str, package: str, architecture: str, work: Path) -> Path:
        built.append(package)
        (work / "pebble").write_text("program")
        return work / "pebble"

    monkeypatch.setattr(pebble.shutil, "which", lambda _name: "/usr/bin/go")
    monkeypatch.setattr(pebble, "go_install", go_install)
    first = pebble.program(Progress(), "amd64", tmp_path)
    assert pebble.program(Progress(), "amd64", tmp_path) == first
    assert built == [f"{pebble.MODULE}@v{pebble.VERSION}"]
