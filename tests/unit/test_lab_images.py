# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What decides whether an image is built again, and what goes into it."""

from __future__ import annotations

import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from lab import bases, builds, definitions, images, wheels
from lab.apt import AptSettings
from lab.errors import LabError
from lab.paths import DOCKERFILES

SETTINGS = definitions.load()
TRIXIE, BOOKWORM = SETTINGS.images["debian13"], SETTINGS.images["debian12"]
APT = AptSettings("http://deb.debian.org/debian", "")


def inputs(folder: Path = DOCKERFILES, synapse: str = "1.163.2", apt: AptSettings = APT) -> str:
    recipe = images.site_recipe(TRIXIE, {**SETTINGS.versions, "synapse": synapse}, folder)
    return recipe.inputs(bases.base_hash(TRIXIE, apt))


def test_the_same_inputs_give_the_same_hash(tmp_path: Path) -> None:
    copy = shutil.copytree(DOCKERFILES, tmp_path / "copy")
    assert inputs(copy) == inputs(DOCKERFILES)


@pytest.mark.parametrize("file", ["site.Dockerfile", "rootfs/etc/systemd/system/matrix-synapse.service"])
def test_a_changed_file_changes_the_hash(tmp_path: Path, file: str) -> None:
    copy = shutil.copytree(DOCKERFILES, tmp_path / "copy")
    with (copy / file).open("a") as handle:
        handle.write("# more\n")
    assert inputs(copy) != inputs(DOCKERFILES)


def test_versions_and_apt_settings_change_the_hash_and_the_mirror_does_not() -> None:
    assert inputs(synapse="1.164.0") != inputs()
    assert inputs(apt=AptSettings(APT.archive, 'Acquire::Check-Date "false";\n')) != inputs()
    assert inputs(apt=AptSettings("http://mirror.example/debian", "")) == inputs()


def test_images_are_built_on_their_own_distribution() -> None:
    assert "FROM matrixrtc-lab/base:trixie\n" in images.site_recipe(TRIXIE, SETTINGS.versions).dockerfile
    bookworm = images.site_recipe(BOOKWORM, SETTINGS.versions)
    assert "FROM matrixrtc-lab/base:bookworm\n" in bookworm.dockerfile
    assert bookworm.tag == "matrixrtc-lab/site:debian12"
    assert "matrix-synapse==1.163.2" in bookworm.dockerfile


def test_an_operators_image_is_built_on_the_sites() -> None:
    plain, own = SETTINGS.operators["package"], SETTINGS.operators["workers"]
    assert images.host_tag(TRIXIE, plain) == images.site_tag(TRIXIE)
    recipe = images.host_recipe(TRIXIE, own)
    assert recipe.tag == "matrixrtc-lab/operator-workers:debian13"
    assert "FROM matrixrtc-lab/site:debian13\n" in recipe.dockerfile
    assert recipe.requirements == own.wheels
    assert recipe.inputs("of one site") != recipe.inputs("of another")


def test_every_placeholder_is_filled() -> None:
    for make in (images.site_recipe, images.client_recipe):
        recipe = make(TRIXIE, SETTINGS.versions)
        assert "_VERSION" not in recipe.dockerfile
        assert "FROM BASE" not in recipe.dockerfile


def test_the_context_has_the_files_as_they_are() -> None:
    packed = builds.pack_context({"Dockerfile": b"FROM x\n", "rootfs/etc/a": b"\xff"})
    with tarfile.open(fileobj=packed) as archive:
        members = {member.name: (member.mode, member.uid) for member in archive}
        content = archive.extractfile("rootfs/etc/a")
        assert content is not None
        assert content.read() == b"\xff"
    assert members == {"Dockerfile": (0o644, 0), "rootfs/etc/a": (0o644, 0)}


def test_the_bootstrap_uses_the_machines_archive() -> None:
    mirrored = replace(APT, archive="http://mirror.example/debian")
    command = bases.bootstrap_command(TRIXIE, mirrored, "/some/apt.conf")
    assert command[-3:] == ["trixie", "-", "http://mirror.example/debian"]
    assert "--aptopt=/some/apt.conf" in command


def test_wheels_are_for_the_hosts_interpreter_and_never_built(tmp_path: Path) -> None:
    command = wheels.download_command(["matrix-synapse==1"], "3.11", "arm64", tmp_path)
    assert "--python-version=3.11" in command
    assert "--abi=cp311" in command
    assert "--only-binary=:all:" in command
    assert "--platform=manylinux_2_28_aarch64" in command
    assert command[-2:] == ["pip", "matrix-synapse==1"]
    with pytest.raises(LabError, match="riscv64"):
        wheels.download_command(["x"], "3.11", "riscv64", tmp_path)
