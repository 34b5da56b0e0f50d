# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The files of an operator's server, and the addresses and records of a lab."""

from __future__ import annotations

import dataclasses
import io
import json
import stat
import tarfile
from pathlib import Path

import pytest
import yaml

from lab import apt, certificates, definitions, mirror, network, site, state
from lab.artifacts import Artifact
from lab.errors import LabError
from lab.operators import HostFile
from lab.users import User

SETTINGS = definitions.load()
D13, D12 = SETTINGS.labs["default"].sites
SECRETS = site.SynapseSecrets("reg-secret", "mac-secret", "form-secret", "ed25519 a_lab c2VlZA\n")


def files(which: definitions.Site, tmp_path: Path) -> dict[str, HostFile]:
    host = which.hosts[0]
    ca = certificates.authority(tmp_path, "default")
    made = site.host_files(which, host, SETTINGS.images[host.image], SECRETS, ca, {host.name: "172.30.0.10"})
    return {file.path: file for file in made}


def test_the_homeserver_is_configured_and_has_much_of_its_own(tmp_path: Path) -> None:
    file = files(D13, tmp_path)["/etc/matrix-synapse/homeserver.yaml"]
    data = yaml.safe_load(file.text)
    assert data["rc_message"] == {"per_second": 0.3, "burst_count": 50}
    assert data["experimental_features"]["msc4306_enabled"] is True
    assert data["listeners"][0]["bind_addresses"] == ["127.0.0.1"]
    assert data["listeners"][0]["x_forwarded"] is True
    assert data["trusted_key_servers"] == []
    assert data["federation_custom_ca_list"] == [site.CA_FILE]
    assert "#" in file.text
    assert (file.mode, file.uid, file.gid) == (0o640, 991, 65534)
    assert files(D13, tmp_path)["/etc/matrix-synapse/homeserver.signing.key"].text == SECRETS.signing_key


def test_nothing_of_ours_is_configured_yet(tmp_path: Path) -> None:
    for which in (D13, D12):
        text = "".join(file.text for file in files(which, tmp_path).values())
        for ours in ("msc4143", "msc4222", "max_event_delay_duration", "matrix_rtc", "livekit", "7881"):
            assert ours not in text


def test_who_serves_the_well_known_file(tmp_path: Path) -> None:
    own, proxied = files(D13, tmp_path), files(D12, tmp_path)
    document = json.loads(own["/var/www/d13.test/.well-known/matrix/client"].text)
    assert document["m.homeserver"] == {"base_url": "https://matrix.d13.test"}
    assert len(document) > 2
    assert "public_baseurl" not in yaml.safe_load(own["/etc/matrix-synapse/homeserver.yaml"].text)
    assert not any(path.endswith("matrix/client") for path in proxied)
    data = yaml.safe_load(proxied["/etc/matrix-synapse/homeserver.yaml"].text)
    assert data["public_baseurl"] == "https://matrix.d12.test/"
    assert "m.tile_server" in data["extra_well_known_client_content"]


def test_nginx_is_written_for_its_version(tmp_path: Path) -> None:
    path = "/etc/nginx/sites-available/operator.conf"
    assert "http2 on;" in files(D13, tmp_path)[path].text
    assert "http2 on;" not in files(D12, tmp_path)[path].text
    assert files(D13, tmp_path)["/etc/nginx/sites-enabled/operator.conf"].link == path


def test_the_firewall_is_the_operators(tmp_path: Path) -> None:
    rules = files(D13, tmp_path)["/etc/nftables.conf"].text
    assert "flush ruleset" in rules
    assert "policy drop" in rules
    assert "tcp dport 22 accept" in rules


def test_every_name_has_a_certificate_and_a_private_key(tmp_path: Path) -> None:
    made = files(D13, tmp_path)
    for name in D13.names(D13.hosts[0]):
        assert made[site.certificate_path(name)].mode == 0o644
        key = made[site.key_path(name)]
        assert (key.mode, key.uid) == (0o600, 0)


def test_secrets_are_new_every_time_and_keys_are_well_formed() -> None:
    first, second = site.make_secrets(), site.make_secrets()
    assert not set(dataclasses.astuple(first)) & set(dataclasses.astuple(second))
    algorithm, _version, seed = first.signing_key.split()
    assert algorithm == "ed25519"
    assert len(seed) == 43, "32 bytes in base64 without padding"


def test_the_archive_keeps_owner_mode_and_links() -> None:
    packed = site.archive([HostFile("/etc/a", "ä\n", 0o640, 991, 65534), HostFile("/etc/b", link="/etc/a")])
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        first, second = archive.getmembers()
        content = archive.extractfile(first)
        assert content is not None
        assert content.read() == "ä\n".encode()
    assert (first.name, first.mode, first.uid, first.gid) == ("etc/a", 0o640, 991, 65534)
    assert first.mtime > 1_600_000_000, "a file of 1970 looks like a mistake"
    assert (second.issym(), second.linkname) == (True, "/etc/a")


def test_addresses_are_fixed_and_every_name_has_one() -> None:
    plan = network.plan(SETTINGS.labs["default"], "172.30.0.0/16")
    assert plan.addresses == {
        "mirror": "172.30.0.2",
        "client": "172.30.0.3",
        "d13": "172.30.0.10",
        "d12": "172.30.0.11",
    }
    entries = plan.hosts_entries()
    assert entries["rtc.d12.test"] == entries["matrix.d12.test"] == entries["d12.test"] == "172.30.0.11"
    assert entries["mirror.test"] == entries["mirror.d13.test"] == "172.30.0.2"


def test_a_name_has_an_ipv6_address_as_well_where_its_host_is_reached_so() -> None:
    plan = network.plan(SETTINGS.labs["federated"], "172.30.0.0/16")
    assert plan.ipv6_entries() == {"rtc.alpha.test": "fd6d:7872:ac1e::a"}
    assert plan.media_addresses() == {"matrix-alpha": "172.30.0.10,fd6d:7872:ac1e::a"}
    assert set(plan.ipv6) == set(plan.addresses), "of a host without one the engine would choose it"
    assert network.plan(SETTINGS.labs["default"], "172.30.0.0/16").ipv6 == {}


def test_hosts_of_one_site_have_names_by_their_parts() -> None:
    split = SETTINGS.labs["split"]
    plan = network.plan(split, "172.30.0.0/16")
    assert (plan.names["rtc"], plan.names["homeserver"], plan.names["web"]) == (
        ["rtc.split.test"],
        ["matrix.split.test"],
        ["split.test"],
    )
    assert len(set(plan.addresses.values())) == 5
    assert {url.split("/")[2] for url in split.urls} == {"rtc.split.test", "matrix.split.test", "split.test"}


def test_artifacts_as_a_folder_on_the_controller(tmp_path: Path) -> None:
    first, older = tmp_path / "first", tmp_path / "older"
    first.write_text("1")
    older.write_text("2")
    made = [
        Artifact("token_service", "0.8.0", "lk-jwt-service_linux_amd64", str(first), "1" * 64, "x"),
        Artifact("token_service", "0.7.0", "lk-jwt-service_linux_amd64", str(older), "2" * 64, "x"),
    ]
    mirror.fill_folder(tmp_path / "folder", made)
    assert (tmp_path / "folder" / "lk-jwt-service_linux_amd64").read_text() == "1", (
        "the one that is installed"
    )
    assert (tmp_path / "folder" / "checksums.txt").read_text() == f"{'1' * 64}  lk-jwt-service_linux_amd64\n"


def test_the_record_of_a_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "STATE", tmp_path)
    monkeypatch.setattr(state, "lab_dir", lambda name: tmp_path / name)
    info = state.fresh(SETTINGS.labs["default"])
    info.subnet, info.hosts, info.wishes = "172.30.0.0/16", ["d13"], {"LAB_LIVEKIT": ""}
    info.artifacts.append(Artifact("livekit", "1.13.5", "a", "/x", "0" * 64, "somewhere", chosen=True))
    info.secrets["d13.test"] = SECRETS
    info.users["d13.test"] = [User("@alice:d13.test", "token", "DEVICE", "password")]
    info.save()
    assert state.read("default") == info
    assert state.names() == ["default"]
    assert state.read("other") is None
    record = tmp_path / "default" / "info.json"
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    record.write_text('{"name": "default"}')
    with pytest.raises(LabError, match="another version"):
        state.read("default")


@pytest.mark.parametrize(
    ("name", "text", "archive"),
    [
        (
            "debian.sources",
            "Types: deb\n# http://old.example/debian\nURIs: http://mirror.example/debian/\n",
            "http://mirror.example/debian",
        ),
        (
            "own.list",
            "# deb http://old.example/debian x y\ndeb [signed-by=/k] https://m.example/a/debian x y\n",
            "https://m.example/a/debian",
        ),
        ("debian.sources", "URIs: http://mirror.example/debian-security\n", apt.DEFAULT_ARCHIVE),
        ("debian.sources.save", "URIs: http://mirror.example/debian\n", apt.DEFAULT_ARCHIVE),
    ],
)
def test_the_machines_debian_archive(tmp_path: Path, name: str, text: str, archive: str) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / name).write_text(text)
    assert apt.find_archive(tmp_path) == archive


def test_only_what_a_download_needs_is_taken_over() -> None:
    dump = (
        'APT::Install-Recommends "1";\nAcquire::http::Proxy "http://proxy.example:3128";\n'
        'Acquire::Check-Date "false";\nAcquire::Languages:: "de";\nDPkg::Post-Invoke:: "rm -rf /x";\n'
    )
    assert apt.relevant_conf(dump) == (
        'Acquire::http::Proxy "http://proxy.example:3128";\nAcquire::Check-Date "false";\n'
    )
