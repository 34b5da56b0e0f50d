"""What every scenario proves, whatever the operator's state was: a call works, and there is a way back."""

from __future__ import annotations

import json
from pathlib import Path

import testinfra
from lab_playbooks import INVENTORY, ROOT, play
from testinfra.host import Host

DEPLOYED = (
    "matrixrtc_rtc",
    "matrixrtc_sfu",
    "matrixrtc_redis",
    "matrixrtc_homeserver",
    "matrixrtc_well_known",
)
MANIFEST = Path(ROOT, "molecule", "shared", "manifest.py")
BEFORE, AFTER = "/root/manifest-before.json", "/root/manifest-after.json"


def hosts(*names: str) -> list[Host]:
    """The hosts with these names, or in groups with these names; by default all that are deployed."""
    specs = [f"ansible://{name}" for name in names or DEPLOYED]
    found = {str(host): host for host in testinfra.get_hosts(specs, ansible_inventory=str(INVENTORY))}
    assert found, f"no host in {specs}"
    return list(found.values())


def running(host: Host) -> dict[str, object]:
    """What a restart, a reload or a firewall's reload would leave different."""
    shown = host.check_output(
        "systemctl show '*.service' --property=Id,SubState,InvocationID,StateChangeTimestampMonotonic"
    )
    return {
        "services": sorted(unit for unit in shown.split("\n\n") if "SubState=running" in unit),
        "nginx workers": host.run("pgrep -f '^nginx: worker'").stdout.split(),
        # a handle is new when its rule is
        "rules": host.run("nft --handle --stateless list ruleset").stdout.splitlines(),
    }


def assert_the_next_run_does_nothing() -> None:
    """site.yml changes nothing, restarts and reloads nothing."""
    before = {str(host): running(host) for host in hosts()}
    run = play("site").ok()
    assert run.changed == 0, run.output
    for host in hosts():
        after = running(host)
        for what, value in before[str(host)].items():
            assert after[what] == value, f"{what} on {host}"


def assert_calls_work(*arguments: str) -> None:
    """verify.yml places a call and finds nothing wrong."""
    run = play("verify", *arguments).ok()
    assert "first picture after" in run.output, run.output


def assert_removal_brings_everything_back() -> None:
    """uninstall.yml leaves files, rules, users, units, answers as they were, and then has nothing to do."""
    play("uninstall").ok()
    again = play("uninstall").ok()
    assert again.changed == 0, again.output
    for host in hosts():
        assert_as_before(host)
    assert_answers_are_as_before()


def assert_answers_are_as_before(but: tuple[str, ...] = ()) -> None:
    """The operators' URLs answer what they did before anything was deployed; not those that end in `but`."""
    urls = json.loads((INVENTORY.parent / "urls.json").read_text(encoding="utf-8"))
    (client,) = hosts("lab_client")
    assert_as_before(client, *(url for url in urls if not url.endswith(but)))


def assert_as_before(host: Host, *urls: str) -> None:
    """Files, rules, users and units of the host, and what `urls` answer there, are as they were."""
    host.run_expect([0], f"cat > /root/manifest.py <<'END'\n{MANIFEST.read_text(encoding='utf-8')}\nEND\n")
    host.check_output(f"python3 /root/manifest.py {AFTER} {' '.join(urls)}")
    before, after = (json.loads(host.file(path).content_string) for path in (BEFORE, AFTER))
    differing = {}
    for part in after:
        was, now = before[part], after[part]
        if part == "files":
            paths = {path for path in was | now if was.get(path) != now.get(path)}
            differing.update({path: (was.get(path), now.get(path)) for path in paths})
        elif was != now:
            differing[part] = ([x for x in was if x not in now], [x for x in now if x not in was])
    assert not differing, f"{host}: {json.dumps(differing, indent=2)}"
