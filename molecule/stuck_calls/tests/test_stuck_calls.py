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
MEMBER = "org.matrix.msc3401.call.member"
PYTHON = "/opt/probe/bin/python"
LINE = re.compile(r"^  (active|unknown|expired|abandoned) +\d+ \w+  (@\S+) \(([^)]*)\): (.+)$")
NOW = {"matrixrtc_stuck_older_than": 0, "matrixrtc_stuck_settled": 1}
END = {**NOW, "matrixrtc_stuck_end": True}
ALICE, BOB, OPS = (f"@{name}:{SERVER}" for name in ("alice", "bob", "ops"))


@pytest.fixture(scope="module")
def client():
    (host,) = steps.hosts("lab_client")
    return host


@pytest.fixture(scope="module")
def tokens():
    users = yaml.safe_load((INVENTORY / "host_vars" / "matrix" / "users.yml").read_text())
    alice, bob = (user["access_token"] for user in users["matrixrtc_probe_users"])
    return {"alice": alice, "bob": bob, "ops": users["matrixrtc_admin_token"]}


def run_on(client, script, given):
    """The JSON that a script of molecule/shared prints on the client, or the command that starts it."""
    put(client, f"/root/{script}", program(script))
    put(client, f"/root/{script}.json", json.dumps(given).encode())
    return f"{PYTHON} /root/{script} /root/{script}.json"


@pytest.fixture(scope="module")
def rooms(client, tokens):
    given = {**tokens, "url": BASE, "service": f"https://rtc.{SERVER}/livekit/jwt"}
    return json.loads(client.check_output(run_on(client, "stuck_rooms.py", given)))


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
    """What the run says of the memberships of a room: status and reason, by user and device."""
    found, inside = {}, False
    for line in run.output.splitlines():
        inside = line == room or (inside and line.startswith(" "))
        if inside and (match := LINE.match(line)):
            found[match[2], match[3]] = (match[1], match[4])
    return found


def state(client, token, room):
    """The call memberships of a room that have not ended, and its power levels, by type and key."""
    put(client, "/root/curl", f'header = "Authorization: Bearer {token}"\n'.encode())
    answer = client.check_output(f"curl -sSK /root/curl '{BASE}/_matrix/client/v3/rooms/{room}/state'")
    return {
        (event["type"], event["state_key"]): event["content"]
        for event in json.loads(answer)
        if event["type"] == "m.room.power_levels"
        or (
            event["type"] == MEMBER and ("device_id" in event["content"] or "memberships" in event["content"])
        )
    }


def test_every_shape_is_listed_with_its_reason_and_nothing_is_changed(client, tokens, rooms, clear):
    time.sleep(1.5)  # older than what is settled
    before = state(client, tokens["alice"], rooms["open"])
    run = clear(**NOW).ok()
    device = rooms["keys"]["crashed"].split("_")[2]
    assert listed(run, rooms["open"]) == {
        (ALICE, "OLD"): ("expired", "it expired 5 h ago"),
        (BOB, device): ("abandoned", "the device is not connected to the SFU on which it publishes"),
        (BOB, "NO_SUCH"): ("abandoned", "the device does not exist any more"),
        (BOB, "GONE"): ("abandoned", "the device does not exist any more"),
        (BOB, "PHONE"): ("expired", "it expired 8 h ago"),
    }
    assert run.output.count("would be ended") == 7
    assert run.changed == 0
    assert state(client, tokens["alice"], rooms["open"]) == before


def test_check_mode_changes_nothing(client, tokens, rooms, clear):
    before = state(client, tokens["alice"], rooms["open"])
    run = clear("--check", "--diff", **END).ok()
    assert f"-{rooms['open']} {rooms['keys']['crashed']}" in run.output
    assert state(client, tokens["alice"], rooms["open"]) == before


def test_what_is_too_young_is_left(client, tokens, rooms, clear):
    before = state(client, tokens["alice"], rooms["open"])
    assert clear(matrixrtc_stuck_end=True).ok().changed == 0
    assert state(client, tokens["alice"], rooms["open"]) == before


def test_a_member_without_power_is_refused_with_the_way_out(client, tokens, rooms, clear):
    run = clear(
        **END,
        matrixrtc_stuck_token=tokens["alice"],
        matrixrtc_admin_token="",
        matrixrtc_stuck_rooms=[rooms["locked"]],
    )
    assert run.status != 0
    assert (
        f"REFUSED: {ALICE} has power level 0 and needs 50 to write call memberships here. Use the token of {BOB}"
        in run.output
    )
    assert (MEMBER, rooms["keys"]["crashed"]) in state(client, tokens["bob"], rooms["locked"])


def test_a_member_with_power_ends_all_of_them(client, tokens, rooms, clear):
    """Alice made the room. What only Bob may write is redacted."""
    run = clear(
        **END,
        matrixrtc_stuck_token=tokens["alice"],
        matrixrtc_admin_token="",
        matrixrtc_stuck_rooms=[rooms["open"]],
    ).ok()
    assert run.changed == 1
    assert run.output.count(" ended\n") == 5, run.output
    assert {kind for kind, _key in state(client, tokens["alice"], rooms["open"])} == {"m.room.power_levels"}


def test_their_owner_ends_them_with_the_least_power(client, tokens, rooms, clear):
    clear(
        **END,
        matrixrtc_stuck_token=tokens["bob"],
        matrixrtc_admin_token="",
        matrixrtc_stuck_rooms=[rooms["locked"]],
    ).ok()
    assert (MEMBER, rooms["keys"]["crashed"]) not in state(client, tokens["bob"], rooms["locked"])


def test_an_administrator_comes_in_only_on_request_and_leaves_all_as_it_was(client, tokens, rooms, clear):
    before = state(client, tokens["bob"], rooms["foreign"])
    refused = clear(**END)
    assert refused.status != 0
    assert f"REFUSED: {OPS} is not in the room." in refused.output
    assert state(client, tokens["bob"], rooms["foreign"]) == before
    run = clear(**END, matrixrtc_stuck_join_as_admin=True).ok()
    assert run.changed == 1
    after = state(client, tokens["bob"], rooms["foreign"])
    assert after == {key: content for key, content in before.items() if key[0] != MEMBER}
    members = client.check_output(
        f"curl -sSK /root/curl '{BASE}/_matrix/client/v3/rooms/{rooms['foreign']}/joined_members'"
    )
    assert list(json.loads(members)["joined"]) == [BOB]


def test_a_call_that_goes_on_is_not_touched(client, tokens, clear):
    """Not even when everything else is to be ended, whatever its age."""
    given = {**tokens, "server_name": SERVER, "domain": f"rtc.{SERVER}", "ca": CA, "seconds": 25}
    command = run_on(client, "long_call.py", given)
    client.check_output(f"nohup {command} > /root/call.json 2> /root/call.log < /dev/null & sleep 8")
    run = clear(**END, matrixrtc_stuck_include_unknown=True).ok()
    assert run.output.count("the device is connected to the SFU") == 2, run.output
    assert run.changed == 0
    client.run_expect([0], "for i in $(seq 60); do [ -s /root/call.json ] && exit 0; sleep 1; done; exit 1")
    call = json.loads(client.file("/root/call.json").content_string)
    failed = [check for check in call["checks"] if check["status"] == "fail"]
    assert failed == []
    assert call["figures"]["frames"] > 2 * 15 * 20, "the picture went on for all of the time"


def test_rate_limits_are_waited_for(client, tokens, clear):
    """Bob has used up what he may send; the homeserver says how long he has to wait."""
    given = {
        "url": BASE,
        "token": tokens["bob"],
        "memberships": 12,
        "service": "https://elsewhere.example/jwt",
    }
    room = client.check_output(run_on(client, "flooded_room.py", given)).strip()
    started = time.monotonic()
    run = clear(
        "-v",
        **END,
        matrixrtc_stuck_token=tokens["bob"],
        matrixrtc_admin_token="",
        matrixrtc_stuck_rooms=[room],
    ).ok()
    waited = float(re.search(r"waited: ([\d.]+)", run.output)[1])
    assert 2 < waited < time.monotonic() - started
    assert {kind for kind, _key in state(client, tokens["bob"], room)} == {"m.room.power_levels"}


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"matrixrtc_stuck_token": "syt_gone", "matrixrtc_admin_token": ""}, "Give a valid access token"),
        ({"matrixrtc_admin_token": "BOB"}, "has to be that of an administrator"),
        ({"matrixrtc_admin_token": ""}, "matrixrtc_admin_token is not set, nor is matrixrtc_stuck_token"),
        (
            {"matrixrtc_stuck_rooms": ["#meeting:example.org"]},
            "matrixrtc_stuck_rooms: '#meeting:example.org' is not a room's id",
        ),
        ({"matrixrtc_stuck_users": ["alice"]}, "matrixrtc_stuck_users: 'alice' is not a Matrix ID"),
        (
            {"matrixrtc_stuck_older_than": "soon"},
            "matrixrtc_stuck_older_than: 'soon' is not a number of seconds",
        ),
    ],
)
def test_what_is_wrong_is_named(tokens, clear, variables, said):
    given = {key: tokens["bob"] if value == "BOB" else value for key, value in variables.items()}
    run = clear(**given)
    assert run.status != 0
    assert said in " ".join(run.output.split())
    assert not any(token in run.output for token in tokens.values())


def test_listing_a_whole_server_is_quick(client, tokens, clear):
    given = {"url": BASE, "token": tokens["bob"], "rooms": 40}
    client.check_output(run_on(client, "many_rooms.py", given))
    run = clear("-v").ok()
    rooms, seconds = (
        float(re.search(rf"^    {name}: ([\d.]+)", run.output, re.MULTILINE)[1])
        for name in ("rooms", "seconds")
    )
    assert rooms >= 40
    record("listing the call memberships of all rooms of a server", rooms / seconds, "rooms/s")


def test_removal_brings_everything_back():
    steps.assert_removal_brings_everything_back()
