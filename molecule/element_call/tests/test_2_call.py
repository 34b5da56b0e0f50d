"""The real Element Call, in a real browser, over what was deployed: two people see each other."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

import pytest
import steps
from figures import record
from lab_playbooks import INVENTORY, ROOT, play
from on_host import program, put

SITE, HOMESERVER = "call.test", "https://matrix.call.test"
PICTURES = Path(ROOT, "tests", "output", "element_call")
DOCUMENT = "/var/www/call.test/.well-known/matrix/client"
ENDPOINT = "GET /_matrix/client/unstable/org.matrix.msc4143/rtc/transports"
WITHOUT_ENDPOINT = """location = /_matrix/client/unstable/org.matrix.msc4143/rtc/transports {
    add_header Access-Control-Allow-Origin "*" always;
    add_header Access-Control-Allow-Headers "authorization, content-type" always;
    default_type application/json;
    if ($request_method = OPTIONS) { return 204; }
    return 404 '{"errcode": "M_UNRECOGNIZED", "error": "Unrecognized request"}';
}"""
WHOLE_TEST = 90


@pytest.fixture(scope="module")
def client():
    (host,) = steps.hosts("lab_client")
    put(host, "/run/browser_call.py", program("browser_call.py"))
    host.check_output("mkdir -p /run/pictures")
    return host


@pytest.fixture(scope="module")
def server():
    (host,) = steps.hosts("matrixrtc_rtc")
    return host


@pytest.fixture(scope="module")
def people():
    users = json.loads((INVENTORY.parent / "info.json").read_text())["users"][SITE]
    return [user for user in users if not user["admin"]]


@pytest.fixture(scope="module")
def call(client, people):
    """Have alice and bob call each other; what they saw."""
    known = [
        {"user": user["user_id"], "token": user["access_token"], "device": user["device_id"]}
        for user in people
    ]

    def place(name, **wishes):
        given = {"site": SITE, "people": known, "name": name, "pictures": "/run/pictures", **wishes}
        put(client, "/run/given.json", json.dumps(given).encode())
        seen = json.loads(client.check_output("/opt/probe/bin/python /run/browser_call.py /run/given.json"))
        keep_pictures(client)
        return seen

    return place


def keep_pictures(client):
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name in client.check_output("ls /run/pictures").split():
        content = base64.b64decode(client.check_output(f"base64 /run/pictures/{name}"))
        (PICTURES / name).write_bytes(content)


def login(client, user):
    """A new session: the keys of an old device cannot be replaced."""
    body = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": user["user_id"]},
        "password": user["password"],
    }
    put(client, "/run/login.json", json.dumps(body).encode())
    found = json.loads(
        client.check_output(f"curl -sSf -d @/run/login.json {HOMESERVER}/_matrix/client/v3/login")
    )
    return {"user": found["user_id"], "token": found["access_token"], "device": found["device_id"]}


def test_two_people_see_each_other_and_one_sees_the_other_leave(call):
    started = time.monotonic()
    seen = call("call")
    took = time.monotonic() - started
    assert "fault" not in seen, seen
    for pairs in seen["pairs"].values():
        assert {pair["protocol"] for pair in pairs} == {"udp"}, seen
    assert f"{ENDPOINT} 200" in seen["asked"]["alice"], seen
    assert "POST /livekit/jwt/sfu/get 200" in seen["asked"]["alice"], seen
    record(
        "Element Call in a browser: both see two moving pictures, after the second joined",
        seen["pictures after"],
    )
    record("Element Call in a browser: a leave is seen by the other", seen["gone after"])
    record("Element Call in a browser: the whole test, start of Chromium to leave", took, budget=WHOLE_TEST)
    assert took <= WHOLE_TEST
    taken = {path.name for path in PICTURES.glob("call-*.png")}
    assert taken == {f"call-{who}-{size}.png" for who in ("alice", "bob") for size in ("desktop", "phone")}


def test_only_the_endpoint_announces_the_sfu(call, server):
    was = server.file(DOCUMENT).content_string
    document = json.loads(was)
    assert document.pop("org.matrix.msc4143.rtc_foci")
    put(server, DOCUMENT, json.dumps(document).encode())
    try:
        seen = call("endpoint", pictures="")
    finally:
        put(server, DOCUMENT, was.encode())
    assert "fault" not in seen, seen


def test_only_the_well_known_announces_the_sfu(call, server):
    site = "/etc/nginx/sites-available/operator.conf"
    was = server.file(site).content_string
    before, mark, after = was.partition("        location ~ ^(/_matrix|/_synapse/client) {")
    assert mark
    put(server, site, f"{before}{WITHOUT_ENDPOINT}\n{mark}{after}".encode())
    try:
        server.check_output("nginx -s reload")
        seen = call("well-known", pictures="")
    finally:
        put(server, site, was.encode())
        server.check_output("nginx -s reload")
    assert "fault" not in seen, seen
    assert f"{ENDPOINT} 404" in seen["asked"]["alice"], seen
    assert "GET /.well-known/matrix/client 200" in seen["asked"]["alice"], seen


def test_an_encrypted_room(call, client, people):
    seen = call("encrypted", encrypted=True, people=[login(client, user) for user in people])
    assert "fault" not in seen, seen


def test_a_browser_that_has_tcp_only(call, client):
    chain = "ip home without_udp"
    client.check_output(f"nft add chain {chain} '{{ type filter hook output priority 0; }}'")
    client.check_output(f"nft add rule {chain} meta l4proto udp drop")
    try:
        seen = call("tcp", pictures="")
    finally:
        client.check_output(f"nft delete chain {chain}")
    assert "fault" not in seen, seen
    for pairs in seen["pairs"].values():
        assert {pair["protocol"] for pair in pairs} == {"tcp"}, seen


def test_a_browser_that_crashes_leaves_the_call_soon(call):
    seen = call("crash", ending="crash", pictures="")
    assert "fault" not in seen, seen
    record("Element Call in a browser: a crashed browser is gone for the other", seen["gone after"])


def test_matrix_2_0(call):
    wishes = ("-e", "element_call_matrix_rtc_mode=matrix_2_0", "-e", "synapse_config_sticky_events=true")
    play("site", *wishes, "--tags", "synapse_config,element_call").ok()
    try:
        seen = call("matrix-2-0", pictures="")
    finally:
        play("site", "--tags", "synapse_config,element_call").ok()
    assert "fault" not in seen, seen
    asked = seen["asked"]["alice"]
    assert "POST /livekit/jwt/get_token 200" in asked, seen
    assert not any("/sfu/get" in line for line in asked), "that is the mode compatibility"


def test_a_token_service_behind_the_homeserver_leaves_nobody_out(call):
    """A release that does not know the SFU's own address in a transport goes on asking the token service."""
    parts = ("--tags", "lk_jwt_service,synapse_config,element_call")
    wish = {
        "matrixrtc_token_service_mode": "homeserver",
        "element_call_matrix_rtc_mode": "matrix_2_0",
        "synapse_config_sticky_events": True,
    }
    play("site", "-e", json.dumps(wish), *parts).ok()
    try:
        seen = call("behind", pictures="")
    finally:
        play("site", *parts).ok()
    assert "fault" not in seen, seen
    assert "POST /livekit/jwt/get_token 200" in seen["asked"]["alice"], seen


def test_a_call_without_an_sfu_fails(call, server):
    """The proof can fail: with LiveKit stopped nobody sees anybody."""
    server.check_output("systemctl stop livekit")
    try:
        seen = call("without-sfu", patience=15)
    finally:
        server.check_output("systemctl start livekit")
    assert "not within 15 s: both see two moving pictures" in seen["fault"], seen
    assert (PICTURES / "fault-without-sfu-alice-desktop.png").exists()
