"""LiveKit's files are understood as its serializers write them, without a YAML library."""

from __future__ import annotations

import json

import pytest
import yaml
from ansible_collections.matrixrtc.backend.plugins.module_utils.endpoint_livekit import (
    flat_settings,
    is_false,
    key_pairs,
    list_at,
)

CONFIGURATION = {
    "port": 7880,
    "bind_addresses": ["127.0.0.1", "::1"],
    "key_file": "/etc/matrixrtc/livekit/keys.yaml",
    "logging": {"level": "info"},
    "rtc": {
        "use_external_ip": False,
        "node_ip": "203.0.113.5,2001:db8::5",
        "udp_port": "7882-7885",
        "stun_servers": ["rtc.example.org:3478"],
        "ips": {"excludes": ["::/0"]},
    },
    "room": {"auto_create": False},
    "webhook": {"api_key": "matrixrtc", "urls": ["http://127.0.0.1:8080/sfu_webhook", "http://b/c"]},
    "keys": {},
}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(CONFIGURATION),
        "# Ansible managed\n---\n" + yaml.safe_dump(CONFIGURATION, sort_keys=False),
        yaml.safe_dump(CONFIGURATION, sort_keys=False, indent=4),
        yaml.safe_dump(CONFIGURATION, sort_keys=True)
        .replace("\n- ", "\n  - ")
        .replace("level: info", "level: info   # a comment"),
        yaml.safe_dump(CONFIGURATION).replace("api_key: matrixrtc", "'api_key': \"matrixrtc\"  # quoted"),
    ],
)
def test_every_common_spelling_is_understood(text: str) -> None:
    found = flat_settings(text)
    assert found["rtc.node_ip"] == "203.0.113.5,2001:db8::5"
    assert found["rtc.udp_port"] == "7882-7885"
    assert found["logging.level"] == "info"
    assert is_false(found["room.auto_create"])
    assert found["webhook.api_key"] == "matrixrtc"
    assert list_at(found, "webhook.urls") == ["http://127.0.0.1:8080/sfu_webhook", "http://b/c"]
    assert list_at(found, "bind_addresses") == ["127.0.0.1", "::1"]
    assert list_at(found, "rtc.ips.excludes") == ["::/0"]


def test_what_is_missing_is_not_found() -> None:
    assert list_at(flat_settings("port: 7880\n"), "webhook.urls") == []
    assert flat_settings("") == {}


def test_key_files() -> None:
    assert key_pairs("# ours\nmatrixrtc: abc:def\n'other': \"x y\"\n") == {
        "matrixrtc": "abc:def",
        "other": "x y",
    }
    assert key_pairs("nonsense\n") == {}
