"""Call memberships that nobody stands behind are found and ended; a call that goes on is not touched."""

from __future__ import annotations

import json
import re
import time

import pytest
import steps
import yaml
from figures import record
from lab_playbooks import INVENTORY, play
from on_host import program, put

SERVER = "stuck.test"
BASE = f"https://matrix.{SERVER}"
CA = "/usr/local/share/ca-certificates/matrixrtc-lab.crt"
MEMBER, LEVELS, LEGACY = "org.matrix.msc3401.call.member", "m.room.power_levels", "org.matrix.msc3401.call"
PYTHON = "/opt/probe/bin/python"
LINE = re.compile(r"^  (active|expired|suspected) +\d+ \w+(?: \d+ \w+)?  (@\S+?)(?: \(([^)]*)\))?: (.+)$")
ALICE, BOB, CAROL, DAVE, OPS = (f"@{name}:{SERVER}" for name in ("alice", "bob", "car_ol", "dave", "ops"))
END = {"matrixrtc_stuck_end": True}
YOUNG = {"matrixrtc_stuck_older_than": "30min"}  # a member cannot see the devices of others


@pytest.fixture(scope="module")
def homeserver():
    (host,) = steps.hosts("matrixrtc_homeserver")
    return host


@pytest.fixture(scope="module")
def tokens():
    users = yaml.safe_load((INVENTORY / "host_vars" / "matrix" / "users.yml").read_text())
    alice, bob = (user["access_token"] for user in users["matrixrtc_probe_users"])
    return {"alice": alice, "bob": bob, "ops": users["matrixrtc_admin_token"]}


def command(host, script, given, python="python3"):
    """Put a script of molecule/shared on a host; the command that runs it."""
    put(host, f"/run/{script}", program(script, "bridge.py"))
    put(host, f"/run/{script}.json", json.dumps(given).encode())
    return f"{python} /run/{script} /run/{script}.json"


def ask(client, token, path):
    """The client API's answer to a user."""
    put(client, "/run/curl", f'header = "Authorization: Bearer {token}"\n'.encode())
    return json.loads(client.check_output(f"curl -sSK /run/curl '{BASE}/_matrix/client/v3/{path}'"))


def state(client, token, room):
    """The call memberships of a room that have not ended, and its power levels, by type and key."""
    return {
        (event["type"], event["state_key"]): event["content"]
        for event in ask(client, token, f"rooms/{room}/state")
        if event["type"] in (LEVELS, LEGACY)
        or (event["type"] == MEMBER and {"device_id", "memberships"} & set(event["content"]))
    }


@pytest.fixture(scope="module")
def devices(client, tokens):
    return {name: ask(client, tokens[name], "account/whoami")["device_id"] for name in ("alice", "bob")}


@pytest.fixture(scope="module")
def rooms(homeserver, devices):
    given = {"server": SERVER, "service": f"https://rtc.{SERVER}/livekit/jwt", **devices}
    return json.loads(homeserver.check_output(command(homeserver, "stuck_rooms.py", given)))


@pytest.fixture
def clear(tmp_path):
    """Run the playbook with variables that are in no argument."""

    def run(*arguments, **variables):
        file = tmp_path / "variables.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps(variables))
        return play("clear_stuck_calls", "-e", f"@{file}", *arguments)

    return run


def listed(run, room):
    """What the run says of the memberships of a room: user, device, state and reason."""
    found, inside = [], False
    for line in run.output.splitlines():
        inside = line == room or (inside and line.startswith(" "))
        if inside and (match := LINE.match(line)):
            found.append((match[2], match[3], match[1], re.sub(r"( h) \d+ min", r"\1", match[4])))
    return sorted(found, key=str)


def test_every_shape_is_listed_with_its_reason_and_nothing_is_changed(client, tokens, rooms, devices, clear):
    before = state(client, tokens["alice"], rooms["shapes"])
    run = clear(matrixrtc_stuck_legacy_calls=True).ok()
    no_device = "the device does not exist any more"
    assert listed(run, rooms["shapes"]) == sorted(
        [
            (ALICE, devices["alice"], "expired", "expired 5 h ago"),
            (BOB, devices["bob"], "suspected", "older than 12 h and never renewed"),
            (BOB, devices["bob"], "suspected", "not connected to its SFU"),
            (BOB, devices["bob"], "expired", "expired 8 h ago"),
            (BOB, "NO_SUCH", "suspected", no_device),
            (CAROL, "PHO_NE", "suspected", no_device),
            (DAVE, "D", "suspected", "the user is not in the room any more"),
            (ALICE, "E", "suspected", no_device),
            (ALICE, None, "active", "a call of the old kind, in a room with a call or not old enough"),
        ],
        key=str,
    )
    assert run.changed == 0
    assert state(client, tokens["alice"], rooms["shapes"]) == before
    (fresh,) = listed(run, rooms["fresh"])
    assert fresh[2:] == ("active", "not expired, sent 3 h ago")


def test_check_mode_shows_what_would_be_ended_and_changes_nothing(client, tokens, rooms, clear):
    before = state(client, tokens["alice"], rooms["shapes"])
    given = {
        **END,
        **YOUNG,
        "matrixrtc_stuck_access_token": tokens["alice"],
        "matrixrtc_stuck_rooms": [rooms["shapes"]],
    }
    run = clear("--check", "--diff", **given).ok()
    assert f"-{rooms['shapes']} _{BOB}_NO_SUCH_m.call" in run.output
    assert run.output.count("would be ended: by redacting it") == 1
    assert run.output.count("would be ended: by writing it empty") == 7
    assert run.changed == 1
    assert state(client, tokens["alice"], rooms["shapes"]) == before
    assert not any(token in run.output for token in tokens.values())


def test_a_member_without_power_is_refused_with_the_way_out(client, tokens, rooms, clear):
    given = {
        **END,
        **YOUNG,
        "matrixrtc_stuck_access_token": tokens["alice"],
        "matrixrtc_stuck_rooms": [rooms["locked"]],
    }
    run = clear(**given)
    assert run.status != 0
    assert (
        f"REFUSED: {ALICE} has power 0, and {MEMBER} takes 50 in this room. Use the token of {BOB}"
        in run.output
    )
    assert (MEMBER, f"_{BOB}_GONE_m.call") in state(client, tokens["bob"], rooms["locked"])


def test_a_member_with_power_ends_all_of_them(client, tokens, rooms, clear):
    """Alice made the room. What only Bob may write is redacted."""
    given = {
        "matrixrtc_stuck_access_token": tokens["alice"],
        "matrixrtc_stuck_rooms": [rooms["shapes"]],
        **YOUNG,
    }
    run = clear(**END, **given, matrixrtc_stuck_legacy_calls=True).ok()
    assert run.changed == 1
    assert run.output.count(" ended: by writing it empty\n") == 7, run.output
    assert run.output.count(" ended: by redacting it\n") == 1, run.output
    assert set(state(client, tokens["alice"], rooms["shapes"])) == {(LEVELS, ""), (LEGACY, "old")}
    run = clear(**END, **given, matrixrtc_stuck_legacy_calls=True).ok()
    assert "a call of the old kind, older than 30 min" in run.output
    assert state(client, tokens["alice"], rooms["shapes"])[LEGACY, "old"] == {}
    assert clear(**END, **given, matrixrtc_stuck_legacy_calls=True).ok().changed == 0


def test_their_owner_ends_them(client, tokens, rooms, clear):
    clear(**END, matrixrtc_stuck_access_token=tokens["bob"], matrixrtc_stuck_rooms=[rooms["locked"]]).ok()
    assert set(state(client, tokens["bob"], rooms["locked"])) == {(LEVELS, "")}


def test_an_administrator_comes_in_only_on_request_and_leaves_all_as_it_was(client, tokens, rooms, clear):
    before = state(client, tokens["bob"], rooms["private"])
    only = {"matrixrtc_stuck_rooms": [rooms["private"]]}
    refused = clear(**END, **only)
    assert refused.status != 0
    assert f"REFUSED: {OPS} is not in the room. Use the token of {BOB}" in refused.output
    assert state(client, tokens["bob"], rooms["private"]) == before
    run = clear(**END, **only, matrixrtc_stuck_join_as_admin=True).ok()
    assert run.changed == 1
    after = state(client, tokens["bob"], rooms["private"])
    assert after == {key: content for key, content in before.items() if key[0] != MEMBER}
    assert sorted(ask(client, tokens["bob"], f"rooms/{rooms['private']}/joined_members")["joined"]) == [
        BOB,
        CAROL,
    ]


def test_a_call_that_goes_on_is_not_touched_though_all_but_the_sfu_says_it_is_over(
    client, homeserver, tokens, devices, clear
):
    """The participants' memberships are made to look 20 hours old, and expired."""
    given = {**tokens, "server_name": SERVER, "domain": f"rtc.{SERVER}", "ca": CA, "seconds": 40}
    call = command(client, "long_call.py", given, PYTHON)
    client.check_output(
        f"rm -f /run/call.json; nohup {call} > /run/call.json 2> /run/call.log < /dev/null & sleep 8"
    )
    run = clear().ok()
    ((room, block),) = [
        (room, block)
        for room, block in re.findall(r"^(!\S+)\n((?:  .*\n)+)", run.output, re.MULTILINE)
        if "connected to the SFU" in block
    ]
    assert block.count("connected to the SFU") == 2
    for name, user in (("alice", ALICE), ("bob", BOB)):
        key = f"_{user}_{devices[name]}_m.call"
        aged = {"room": room, "key": key, "user": user, "device": devices[name], "hours": 20, "seconds": 0}
        homeserver.check_output(command(homeserver, "aged_membership.py", aged))
    blind = clear("-e", "common_stuck_livekit_url=").ok()
    assert [entry[2] for entry in listed(blind, room)] == ["expired", "expired"], "only the SFU knows better"
    run = clear(**END, matrixrtc_stuck_join_as_admin=True, matrixrtc_stuck_rooms=[room]).ok()
    assert [entry[2:] for entry in listed(run, room)] == [("active", "connected to the SFU")] * 2
    assert run.changed == 0
    memberships = [key for key in state(client, tokens["alice"], room) if key[0] == MEMBER]
    assert len(memberships) == 2
    client.run_expect([0], "for i in $(seq 80); do [ -s /run/call.json ] && exit 0; sleep 1; done; exit 1")
    done = json.loads(client.file("/run/call.json").content_string)
    assert [check for check in done["checks"] if check["status"] == "fail"] == []
    assert done["figures"]["frames"] > 2 * 10 * 35, "the picture went on for all of the time"


def test_a_client_that_is_alive_is_said_to_have_come_back(client, homeserver, tokens, rooms, devices, clear):
    key = f"_{BOB}_{devices['bob']}_m.call"
    given = {
        "room": rooms["fresh"],
        "key": key,
        "user": BOB,
        "device": devices["bob"],
        "hours": 20,
        "seconds": 60,
    }
    living = command(homeserver, "aged_membership.py", given)
    homeserver.check_output(f"nohup {living} > /run/living.log 2>&1 < /dev/null & sleep 3")
    run = clear(
        **END, matrixrtc_stuck_access_token=tokens["bob"], matrixrtc_stuck_rooms=[rooms["fresh"]]
    ).ok()
    assert "CAME BACK: its client is alive and wrote it again" in run.output, run.output
    assert (MEMBER, key) in state(client, tokens["bob"], rooms["fresh"])


def test_rate_limits_are_waited_for(client, homeserver, tokens, clear):
    """Bob has used up what he may send; the homeserver says how long he has to wait."""
    given = {"user": BOB, "token": tokens["bob"], "memberships": 14}
    room = homeserver.check_output(command(homeserver, "flooded_room.py", given)).strip()
    asked = {**END, "matrixrtc_stuck_access_token": tokens["bob"], "matrixrtc_stuck_rooms": [room]}
    impatient = clear(**asked, matrixrtc_stuck_patience="0s")
    assert impatient.status != 0
    assert "M_LIMIT_EXCEEDED" in impatient.output
    assert "Run it again later" in impatient.output
    started = time.monotonic()
    run = clear("-v", **asked).ok()
    waited = max(float(found) for found in re.findall(r"waited: ([\d.]+)", run.output))
    assert 2 < waited < time.monotonic() - started
    assert set(state(client, tokens["bob"], room)) == {(LEVELS, "")}
    record("ending 14 memberships of a user who has used up the message limit", time.monotonic() - started)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"matrixrtc_stuck_access_token": "syt_gone"}, "Give a valid access token"),
        ({"matrixrtc_admin_token": "BOB"}, "has to be that of an administrator"),
        (
            {"matrixrtc_admin_token": ""},
            "matrixrtc_admin_token is not set, nor is matrixrtc_stuck_access_token",
        ),
        (
            {"matrixrtc_stuck_rooms": ["#meeting:example.org"]},
            "matrixrtc_stuck_rooms: '#meeting:example.org' is not a room's id",
        ),
        ({"matrixrtc_stuck_users": ["alice"]}, "matrixrtc_stuck_users: 'alice' is not a Matrix ID"),
        ({"matrixrtc_stuck_older_than": "soon"}, "matrixrtc_stuck_older_than: 'soon' is not a time"),
        ({"matrixrtc_stuck_homeserver_url": BASE}, "to where Synapse answers /_synapse/admin"),
    ],
)
def test_what_is_wrong_is_named(tokens, clear, variables, said):
    given = {key: tokens["bob"] if value == "BOB" else value for key, value in variables.items()}
    run = clear(**given)
    assert run.status != 0
    assert said in " ".join(run.output.split()), run.output
    assert not any(token in run.output for token in tokens.values())


def test_without_the_sfu_nothing_is_ended(homeserver, rooms, clear):
    """Nobody would know who is in a call."""
    homeserver.check_output("systemctl stop livekit")
    try:
        run = clear(**END)
    finally:
        homeserver.check_output("systemctl start livekit")
    assert run.status != 0
    assert "See that LiveKit runs" in run.output


def test_listing_a_whole_server_is_quick_and_ends_in_batches(homeserver, tokens, clear):
    given = {"user": BOB, "rooms": 150}
    homeserver.check_output(command(homeserver, "many_rooms.py", given))
    run = clear("-v").ok()
    count, seconds = (
        float(re.search(rf"^    {name}: ([\d.]+)", run.output, re.MULTILINE)[1])
        for name in ("rooms", "seconds")
    )
    assert count >= 150
    record("listing the call memberships of all rooms of a server", count / seconds, "rooms/s")
    assert count / seconds > 20
    run = clear(**END, matrixrtc_stuck_access_token=tokens["bob"]).ok()
    assert re.search(r"^rooms 11 to \d+ of \d+$", run.output, re.MULTILINE), run.output
    assert clear().ok().output.count("suspected") == 0


def test_removal_brings_everything_back():
    steps.assert_removal_brings_everything_back()
