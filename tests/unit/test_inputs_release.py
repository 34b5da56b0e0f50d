"""The folder of releases on the controller: what it lacks is told with all that is needed to fill it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.inputs import check_inputs
from inputs_support import VERSIONS, inputs_of
from role_rendering import Role

LIVEKIT = "livekit_1.13.5_linux_amd64.tar.gz"
TOKEN_SERVICE = "lk-jwt-service_linux_amd64"
DIGEST = "a" * 64
ARTIFACT = {"livekit": "__livekit_artifact", "lk_jwt_service": "__lk_jwt_service_artifact"}


def told(component: str, folder: Path, sha256: str = "", **given: Any) -> str:
    """What the preflight says of the folder, with the role's own variables; '' for nothing."""
    site = {**given, "matrixrtc_artifact_folder": str(folder), f"{component}_sha256": sha256}
    artifact = Role(component, **site).value(ARTIFACT[component])
    role = Role(component, **site, common_artifact=artifact, common_artifact_checksums=[])
    # Lookups are not to be had without a play, so the list is read here.
    text = (folder / "checksums.txt").read_text() if (folder / "checksums.txt").exists() else ""
    found = {**role.value("common_artifact_found"), "checksums": text}
    values = {**inputs_of(component, site), "artifact": found}
    problems = check_inputs(component, values, "", VERSIONS[component]).problems
    return "".join(problem.message for problem in problems if problem.variable == "matrixrtc_artifact_folder")


def test_an_empty_folder_of_livekit(tmp_path: Path) -> None:
    message = told("livekit", tmp_path)
    address = "https://github.com/livekit/livekit/releases/download/v1.13.5/"
    assert f"'{tmp_path}' on the controller lacks {LIVEKIT} and checksums.txt. " in message
    assert f"Download {address}{LIVEKIT} and put it there" in message
    assert f"{address}checksums.txt: put that file there as well" in message
    assert "or set livekit_sha256." in message


def test_an_empty_folder_of_the_token_service(tmp_path: Path) -> None:
    """Its releases have no list of checksums."""
    message = told("lk_jwt_service", tmp_path)
    assert f"lacks {TOKEN_SERVICE} and checksums.txt. " in message
    assert (
        "https://github.com/element-hq/lk-jwt-service/releases/tag/v0.8.0: set lk_jwt_service_sha256"
        in message
    )
    assert f"the line 'SHA256  {TOKEN_SERVICE}' into checksums.txt" in message


def test_a_mirror_is_named_instead_of_upstream(tmp_path: Path) -> None:
    message = told("livekit", tmp_path, matrixrtc_release_url="https://mirror.example.org")
    assert (
        f"Download https://mirror.example.org/livekit/livekit/releases/download/v1.13.5/{LIVEKIT}" in message
    )


def test_a_checksum_of_the_operators_is_repeated(tmp_path: Path) -> None:
    message = told("livekit", tmp_path, sha256=DIGEST)
    assert f"lacks {LIVEKIT}. " in message
    assert f"its sha256 has to be {DIGEST}, as livekit_sha256 says." in message


def test_a_list_without_the_release(tmp_path: Path) -> None:
    (tmp_path / LIVEKIT).write_text("")
    (tmp_path / "checksums.txt").write_text(f"{DIGEST}  livekit_1.13.4_linux_amd64.tar.gz\n")
    assert f"has no line for {LIVEKIT}. Download" in told("livekit", tmp_path)


@pytest.mark.parametrize("mark", [" ", "*", " ./"])
def test_a_folder_with_everything(tmp_path: Path, mark: str) -> None:
    for name in (LIVEKIT, TOKEN_SERVICE):
        (tmp_path / name).write_text("")
    lines = "".join(f"{DIGEST} {mark}{name}\n" for name in (LIVEKIT, TOKEN_SERVICE))
    (tmp_path / "checksums.txt").write_text(lines)
    assert told("livekit", tmp_path) == told("lk_jwt_service", tmp_path) == ""


def test_with_a_checksum_no_list_is_needed(tmp_path: Path) -> None:
    (tmp_path / LIVEKIT).write_text("")
    assert told("livekit", tmp_path, sha256=DIGEST) == ""


def test_a_machine_without_releases_is_refused_for_that(tmp_path: Path) -> None:
    """Its asset has no name of upstream's, and that is no reason to fail."""
    facts = {"architecture": "riscv64"}
    assert "linux_riscv64" in told("livekit", tmp_path, ansible_facts=facts)
