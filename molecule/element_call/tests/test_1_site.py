"""The web app is what upstream published, is served as it has to be, and stays with its operator."""

from __future__ import annotations

import json

import pytest
import steps
from lab_playbooks import INVENTORY, play

SITE = "https://call.call.test"
ROOT = "/opt/matrixrtc/element-call"
RELEASE = "element-hq/element-call/releases/download"


@pytest.fixture(scope="module")
def server():
    (host,) = steps.hosts("matrixrtc_element_call")
    return host


def get(client, path, *options):
    """Status, headers (in lower case) and body."""
    said = client.check_output(f"curl -sSi --http1.1 {' '.join(options)} '{SITE}{path}'")
    head, _blank, body = said.replace("\r\n", "\n").partition("\n\n")
    status, *lines = head.splitlines()
    return int(status.split()[1]), {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}, body


@pytest.mark.parametrize("path", ["/", "/room", "/a/room/deep/down", "/index.html"])
def test_every_path_is_a_room_and_gives_the_page(client, path):
    status, headers, body = get(client, path)
    assert status == 200
    assert headers["content-type"].startswith("text/html")
    assert "<title>Element Call</title>" in body
    assert headers["cache-control"] == "public, max-age=30, stale-while-revalidate=30"


@pytest.mark.parametrize("path", ["/config.json", "/room/config.json"])
def test_the_configuration_is_never_the_page(client, server, path):
    status, headers, body = get(client, path)
    assert status == 200
    assert headers["content-type"].startswith("application/json")
    assert json.loads(body) == {
        "default_server_config": {
            "m.homeserver": {"base_url": "https://matrix.call.test", "server_name": "call.test"}
        },
        "matrix_rtc_session": {"wait_for_key_rotation_ms": 5000},
    }
    server.check_output("mv /etc/matrixrtc/element-call/config.json /run/config.json")
    try:
        assert get(client, path)[0] == 404
    finally:
        server.check_output("mv /run/config.json /etc/matrixrtc/element-call/config.json")


def test_assets_are_compressed_and_kept_for_ever(client, server):
    name = server.check_output(f"cd {ROOT}/current && ls assets/*.wasm | head -1")
    status, headers, _body = get(client, f"/{name}", "-H 'Accept-Encoding: gzip'", "-o /dev/null", "-D -")
    assert status == 200
    assert headers["content-encoding"] == "gzip"
    assert headers["content-type"] == "application/wasm"
    assert headers["cache-control"] == "public, max-age=31536000, immutable"
    assert get(client, "/assets/missing.js")[0] == 404
    assert get(client, "/.artifact.json")[0] == 404


def test_who_may_show_it_and_what_it_may_use(client):
    for path in ("/", "/config.json", "/assets/missing.js"):
        headers = get(client, path)[1]
        assert headers["content-security-policy"] == "frame-ancestors 'self' https://chat.call.test"
        assert "camera=(self), microphone=(self), display-capture=(self)" in headers["permissions-policy"]
        assert headers["strict-transport-security"] == "max-age=63072000"


def test_verify_looks_at_the_app_and_names_what_is_wrong(server):
    run = play("verify", "--tags", "element_call").ok()
    assert run.output.count(" ok  ") >= 4, run.output
    server.check_output("mv /etc/matrixrtc/element-call/config.json /run/config.json")
    try:
        run = play("verify", "--tags", "element_call")
    finally:
        server.check_output("mv /run/config.json /etc/matrixrtc/element-call/config.json")
    assert run.status != 0
    assert "app_config" in run.output
    assert "does not start" in " ".join(run.output.split()), run.output


def test_the_next_run_does_nothing():
    steps.assert_the_next_run_does_nothing()


def test_an_altered_file_in_the_archive_is_refused_and_nothing_is_replaced(client, server):
    """The list of the release is the lab mirror's: one checksum in it is made wrong for another version."""
    mirror = INVENTORY.parent / "mirror" / RELEASE
    good, bad = mirror / "v0.26.1", mirror / "v0.26.0"
    bad.mkdir()
    name = "element-call-embedded-0.26"
    (bad / f"{name}.0.tar.gz").write_bytes((good / f"{name}.1.tar.gz").read_bytes())
    listed = (good / f"{name}.1.sha256").read_text()
    wrong = "\n".join(
        f"{'0' * 64}{line[64:]}" if "index.html" in line else line for line in listed.splitlines()
    )
    (bad / f"{name}.0.sha256").write_text(wrong)
    wishes = ("-e", "element_call_version=0.26.0", "-e", "matrixrtc_allow_untested_versions=true")
    try:
        run = play("site", *wishes, "--tags", "element_call")
        assert run.status != 0
        assert "found altered: index.html" in run.output, run.output
        assert "Nothing was replaced: 0.26.1~embedded of element-call is in place" in run.output
        assert get(client, "/")[0] == 200
        (bad / f"{name}.0.sha256").write_text(listed)
        play("site", *wishes, "--tags", "element_call").ok()
        assert server.check_output(f"readlink {ROOT}/current") == "0.26.0~embedded"
        assert get(client, "/")[0] == 200
    finally:
        play("site", "--tags", "element_call").ok()
    assert server.check_output(f"readlink {ROOT}/current {ROOT}/previous").split() == [
        "0.26.1~embedded",
        "0.26.0~embedded",
    ]


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ("element_call_matrix_rtc_mode=matrix_2_0", "synapse_config_sticky_events"),
        ("element_call_matrix_rtc_mode=legacy", "'legacy' is none of compatibility, matrix_2_0"),
        ("matrixrtc_call_domain=rtc.call.test", "matrixrtc_call_domain"),
        (
            "matrixrtc_call_domain=elsewhere.call.test",
            "'/etc/ssl/lab/elsewhere.call.test.crt' does not exist on this host",
        ),
        ("element_call_version=0.23.0", "before it, media quality could not be set"),
        ('{"element_call_frame_origins": []}', "no client could show the widget"),
        ('{"element_call_media_quality": {"codec": "vp9"}}', "'codec'"),
    ],
)
def test_wrong_inputs_are_refused_before_anything_changes(wish, said):
    run = play("site", "-e", wish, "--tags", "element_call")
    assert (run.status != 0, run.changed) == (True, 0), run.output
    assert said in " ".join(run.output.split()), run.output
