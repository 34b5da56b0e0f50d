"""Whatever is broken, the doctor names it, and site.yml repairs what is the collection's."""

from __future__ import annotations

import datetime
import json
import re
import statistics
import time

import on_host
import pytest
import steps
import yaml
from faults import CALLED, EXPIRED, FAULTS, SITE
from figures import record
from lab_playbooks import INVENTORY, Run, play
from testinfra.host import Host

from lab import certificates


class Doctor:
    """verify.yml on a site that is whole, with a call or as one user: how long it took each time."""

    def __init__(self, as_a_user: tuple[str, ...]) -> None:
        self.as_a_user = as_a_user
        self.seconds: dict[bool, list[float]] = {True: [], False: []}

    def finds_nothing(self, *, call: bool) -> None:
        """Every check is green; one that is not is a false alarm, or a fault that was not repaired."""
        started = time.monotonic()
        play("verify", *(() if call else self.as_a_user)).ok()
        self.seconds[call].append(time.monotonic() - started)


@pytest.fixture(scope="module", autouse=True)
def doctor(as_a_user):
    """Finds nothing wrong before anything is broken, with a call. Its figures are kept at the end."""
    made = Doctor(as_a_user)
    made.finds_nothing(call=True)
    yield made
    for call, budget in ((False, 5), (True, 15)):
        if made.seconds[call]:
            what = f"doctor {'with' if call else 'without'} a call, whole command, median"
            record(what, statistics.median(made.seconds[call]), budget=budget)
    runs = len(made.seconds[True]) + len(made.seconds[False])
    record("doctor: runs on a whole site, none with a false alarm", runs, "runs")


@pytest.fixture(scope="module", autouse=True)
def expired():
    """A certificate that the lab's authority signed two years ago for one year."""
    (host,) = steps.hosts("matrixrtc_rtc")
    ca = certificates.authority(INVENTORY.parent / "ca", INVENTORY.parent.name)
    then = datetime.datetime.now(datetime.UTC) - 2 * certificates.LIFETIME
    pair = certificates.issue(ca, f"rtc.{SITE}", then)
    on_host.put(host, f"{EXPIRED}.crt", pair.certificate.encode())
    on_host.put(host, f"{EXPIRED}.key", pair.key.encode())


@pytest.fixture(scope="module")
def as_a_user(tmp_path_factory):
    """What makes verify.yml look as a user does, with one account: no call is placed."""
    (users,) = INVENTORY.glob("host_vars/*/users.yml")
    variables = yaml.safe_load(users.read_text(encoding="utf-8"))
    file = tmp_path_factory.mktemp("user") / "user.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps({"matrixrtc_probe_users": variables["matrixrtc_probe_users"][:1]}))
    return ("-e", f"@{file}")


def failed_ids(run: Run) -> list[str]:
    """The checks that failed, in the order in which a client needs things."""
    found = re.search(r"checks failed: ([a-z_0-9, ]+)", " ".join(run.output.split()))
    assert found, run.output
    return found.group(1).split(", ")


class Broken:
    """The site with one fault."""

    def __init__(self, name: str, rtc: Host) -> None:
        self.fault, self.rtc, self.repaired = FAULTS[name], rtc, False
        self.proven_by_call = name in CALLED
        rtc.run_expect([0], self.fault.make)

    def repair(self) -> None:
        """Take back what was not the collection's, and let site.yml do the rest."""
        self.repaired = True
        if self.fault.undo:
            self.rtc.run_expect([0], self.fault.undo)
        play("site").ok()


@pytest.fixture(params=list(FAULTS))
def broken(request, rtc):
    """The site with one fault, which is repaired whatever the test finds."""
    made = Broken(request.param, rtc)
    yield made
    if not made.repaired:
        made.repair()


def test_the_doctor_names_the_cause(broken, doctor):
    run = play("verify", *doctor.as_a_user)
    assert run.status != 0, run.output
    failed = failed_ids(run)
    assert failed[0] == broken.fault.first, run.output
    assert broken.fault.cause in " ".join(run.output.split()), run.output
    assert not broken.fault.named_by or broken.fault.named_by in failed, run.output

    broken.repair()
    doctor.finds_nothing(call=broken.proven_by_call)
