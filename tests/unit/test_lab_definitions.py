# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""labs.yml and the command line's --site: what is accepted, and what is said about the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import definitions
from lab.definitions import Host, Site
from lab.errors import LabError
from lab.paths import DEFINITIONS

SETTINGS = definitions.load()
IMAGES, OPERATORS = SETTINGS.images, SETTINGS.operators


def site(server_name: str = "a.test", well_known: str = "file", **host: str) -> Site:
    values = {"name": "a", "operator": "package", "image": "debian13", **host}
    data = {"server_name": server_name, "well_known": well_known, "hosts": [values]}
    return definitions.site_from_data(data, OPERATORS)


def test_the_labs_that_others_rely_on() -> None:
    labs = SETTINGS.labs
    assert [one.as_data() for one in labs["demo"].sites] == [
        {
            "server_name": "lab.test",
            "well_known": "file",
            "further_livekit": [],
            "hosts": [
                {
                    "name": "lab",
                    "operator": "element_call",
                    "image": "debian13",
                    "access": True,
                    "ipv6": False,
                }
            ],
        }
    ]
    assert [
        (host.name, one.server_name, host.image, one.well_known) for one, host in labs["default"].places
    ] == [
        ("d13", "d13.test", "debian13", "file"),
        ("d12", "d12.test", "debian12", "synapse"),
    ]


def test_the_names_of_a_host_follow_from_its_parts() -> None:
    one = site()
    assert one.names(one.hosts[0]) == ("a.test", "matrix.a.test", "rtc.a.test")
    assert all(one.host_with(part) == one.hosts[0] for part in ("web", "homeserver", "rtc"))


@pytest.mark.parametrize(
    ("sites", "said"),
    [
        ([], "has no site"),
        ([site(image="ubuntu")], "no image 'ubuntu'"),
        ([site(name="client")], "reserved"),
        ([site(name="A")], "not a usable name"),
        ([site(server_name="example.org")], "must end in .test"),
        ([site(well_known="nginx")], "use file or synapse"),
        ([site(), site(server_name="b.test")], "share one host"),
        ([site(), site(name="b")], "share one server_name"),
        ([Site("a.test", ())], "each of web, homeserver, rtc once"),
        ([Site("a.test", (*site().hosts, *site(name="b").hosts))], "each of web, homeserver, rtc once"),
    ],
)
def test_what_is_refused(sites: list[Site], said: str) -> None:
    with pytest.raises(LabError, match=said):
        definitions.build_lab("x", sites, IMAGES)


def test_an_operator_that_there_is_not() -> None:
    with pytest.raises(LabError, match="no operator 'nobody'"):
        site(operator="nobody")


@pytest.mark.parametrize("name", ["", "Demo", "a/b", "..", "cache", "1st"])
def test_names_that_cannot_be_a_lab(name: str) -> None:
    with pytest.raises(LabError, match="lower-case"):
        definitions.check_name(name)


def test_a_site_on_the_command_line() -> None:
    host = Host("edge", OPERATORS["package"], "debian12")
    assert definitions.site_from_argument("edge=debian12", OPERATORS) == Site("edge.test", (host,))
    other = definitions.site_from_argument("edge=debian12:offline", OPERATORS)
    assert other.hosts[0].operator.name == "offline"
    for wrong in ("edge", "=debian12", "edge="):
        with pytest.raises(LabError, match="write NAME=IMAGE"):
            definitions.site_from_argument(wrong, OPERATORS)


def test_which_sites_count() -> None:
    data = SETTINGS
    named = definitions.choose(data, "demo", ["x=debian12"], None)
    assert [host.name for _site, host in named.places] == ["x"], "arguments come first"
    remembered = definitions.choose(data, "mine", [], [site(name="old").as_data()])
    assert [host.name for _site, host in remembered.places] == ["old"], "then what the lab was made with"
    assert definitions.choose(data, "demo", []) == data.labs["demo"]
    with pytest.raises(LabError, match="--site mine=debian13"):
        definitions.choose(data, "mine", [])


def test_a_client_on_an_unknown_distribution(tmp_path: Path) -> None:
    text = DEFINITIONS.read_text().replace("client_image: debian13", "client_image: debian99")
    changed = tmp_path / "labs.yml"
    changed.write_text(text)
    with pytest.raises(LabError, match="debian99"):
        definitions.load(changed)
