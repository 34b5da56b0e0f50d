# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""labs.yml and the command line's --site: what is accepted, and what is said about the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import definitions
from lab.definitions import Site
from lab.errors import LabError
from lab.paths import DEFINITIONS

IMAGES = definitions.load().images


def site(**changes: str) -> Site:
    values = {"host": "a", "server_name": "a.test", "image": "debian13", "well_known": "file", **changes}
    return Site(**values)


def test_the_labs_that_others_rely_on() -> None:
    labs = definitions.load().labs
    assert [one.as_data() for one in labs["demo"].sites] == [
        {"host": "lab", "server_name": "lab.test", "image": "debian13", "well_known": "file"}
    ]
    assert [(one.host, one.server_name, one.image, one.well_known) for one in labs["default"].sites] == [
        ("d13", "d13.test", "debian13", "file"),
        ("d12", "d12.test", "debian12", "synapse"),
    ]


def test_the_names_of_a_site() -> None:
    assert site().names == ("a.test", "matrix.a.test", "rtc.a.test")


@pytest.mark.parametrize(
    ("sites", "said"),
    [
        ([], "has no site"),
        ([site(image="ubuntu")], "no image 'ubuntu'"),
        ([site(host="client")], "reserved"),
        ([site(host="A")], "not a usable host name"),
        ([site(server_name="example.org")], "must end in .test"),
        ([site(well_known="nginx")], "use file or synapse"),
        ([site(), site(server_name="b.test")], "share one host"),
        ([site(), site(host="b")], "share one server_name"),
    ],
)
def test_what_is_refused(sites: list[Site], said: str) -> None:
    with pytest.raises(LabError, match=said):
        definitions.build_lab("x", sites, IMAGES)


@pytest.mark.parametrize("name", ["", "Demo", "a/b", "..", "cache", "1st"])
def test_names_that_cannot_be_a_lab(name: str) -> None:
    with pytest.raises(LabError, match="lower-case"):
        definitions.check_name(name)


def test_a_site_on_the_command_line() -> None:
    assert definitions.site_from_argument("edge=debian12") == Site("edge", "edge.test", "debian12", "file")
    for wrong in ("edge", "=debian12", "edge="):
        with pytest.raises(LabError, match="write NAME=IMAGE"):
            definitions.site_from_argument(wrong)


def test_which_sites_count() -> None:
    data = definitions.load()
    named = definitions.choose(data, "demo", ["x=debian12"], None)
    assert [one.host for one in named.sites] == ["x"], "arguments come first"
    remembered = definitions.choose(data, "mine", [], [site(host="old").as_data()])
    assert [one.host for one in remembered.sites] == ["old"], "then what the lab was made with"
    assert definitions.choose(data, "demo", []) == data.labs["demo"]
    with pytest.raises(LabError, match="--site mine=debian13"):
        definitions.choose(data, "mine", [])


def test_a_client_on_an_unknown_distribution(tmp_path: Path) -> None:
    text = DEFINITIONS.read_text().replace("client_image: debian13", "client_image: debian99")
    changed = tmp_path / "labs.yml"
    changed.write_text(text)
    with pytest.raises(LabError, match="debian99"):
        definitions.load(changed)
