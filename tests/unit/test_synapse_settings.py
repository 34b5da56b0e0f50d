"""The whole of synapse_settings over several runs: killed, rolled back, edited in between, and undone."""

from __future__ import annotations

import json
import os
import pwd
import stat
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.matrixrtc.backend.plugins.module_utils.edge_host import Completed
from ansible_collections.matrixrtc.backend.plugins.module_utils.registration import document
from ansible_collections.matrixrtc.backend.plugins.module_utils.synapse_check import (
    Synapse,
    SynapseError,
    Verdict,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.synapse_files import (
    HEADER,
    ConfigError,
    read_layout,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.synapse_proof import MARK
from ansible_collections.matrixrtc.backend.plugins.module_utils.synapse_settings import (
    Outcome,
    Request,
    apply,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.synapse_state import (
    StateDirectory,
    StateError,
)
from ansible_collections.matrixrtc.backend.plugins.modules import synapse_settings, well_known_client

from tests.unit.synapse_cases.homeserver import BASE, VERSION, Accepting, synapse_python

URL = "https://rtc.lab.test/livekit/jwt"
SECRET = "a-secret-of-the-operator"
HOMESERVER = f"""\
# The operator's own.
registration_shared_secret: "{SECRET}"
experimental_features:
  msc3881_enabled: true
rc_message: {{per_second: 0.3, burst_count: 50}}   # {SECRET}
extra_well_known_client_content: {{"io.element.e2ee": {{"default": true}}, "key": "{SECRET}"}}
"""


class Site:
    """A homeserver's configuration in a folder, in the layout of upstream's Debian package."""

    def __init__(self, folder: Path, homeserver: str = HOMESERVER) -> None:
        self.folder = folder
        self.homeserver = folder / "homeserver.yaml"
        self.drop_in = folder / "conf.d" / "zz-matrixrtc.yaml"
        self.state = folder / "state"
        self.homeserver.write_text(homeserver)
        self.drop_in.parent.mkdir()
        (self.drop_in.parent / "server_name.yaml").write_text(BASE)
        self.config = ["homeserver.yaml", "conf.d/"]
        self.synapse: Synapse = Accepting(VERSION, folder)
        self.edit_managed = False
        self.units: tuple[str, ...] = ()
        self.shown = ""

    def settings(self, **other: Any) -> dict[str, Any]:
        transports = [{"type": "livekit", "livekit_service_url": other.pop("url", URL)}]
        settings = {
            "max_event_delay_duration": "24h",
            "experimental_features": {"msc4143_enabled": True, "msc4222_enabled": True},
            "matrix_rtc": {"transports": transports},
            "rc_message": {"per_second": 0.5, "burst_count": 30},
            "extra_well_known_client_content": {"org.matrix.msc4143.rtc_foci": transports},
        }
        return {key: value for key, value in {**settings, **other}.items() if value is not None}

    def run(self, present: bool = True, check_mode: bool = False, **other: Any) -> Outcome:
        request = Request(
            self.synapse,
            self.config,
            self.settings(**other),
            str(self.state),
            "zz-matrixrtc.yaml",
            present,
            self.edit_managed,
            self.units,
        )
        return apply(request, check_mode, self.systemctl)

    def systemctl(self, argv: Sequence[str]) -> Completed:
        """What systemd says of the units."""
        return Completed(0, self.shown.replace("FOLDER", str(self.folder)))

    def confirm(self) -> None:
        """What the role does when Synapse is healthy on the new settings."""
        (self.state / "pending.json").unlink()

    def data(self) -> dict[str, Any]:
        """The effective configuration."""
        merged: dict[str, Any] = {}
        for path in [self.homeserver, *sorted(self.drop_in.parent.glob("*.yaml"))]:
            merged.update(yaml.safe_load(path.read_text()) or {})
        return merged


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


# What a run tells ------------------------------------------------------------------------------------


def test_changes_are_told_one_by_one(site: Site) -> None:
    told = [line.rpartition(" (")[0] for line in site.run().changes]
    assert 'max_event_delay_duration: not set -> "24h"' in told
    assert "experimental_features.msc4222_enabled: not set -> true" in told
    assert "rc_message.per_second: 0.3 -> 0.5" in told
    assert not [line for line in told if "burst_count" in line or "e2ee" in line]


def test_no_secret_is_ever_shown(site: Site) -> None:
    first = site.run()
    last = site.run(present=False)
    assert first.changed
    assert last.changed
    for outcome in (first, last):
        assert SECRET not in json.dumps([outcome.diff, outcome.changes, outcome.warnings])
    hunks = "".join(entry["prepared"] for entry in first.diff)
    assert "-rc_message: {… per_second: 0.3 …\n+rc_message: {… per_second: 0.5 …\n" in hunks
    assert "+  msc4143_enabled: true\n+  msc4222_enabled: true\n" in hunks


def test_secrets_stay_private_on_disk(site: Site) -> None:
    site.homeserver.chmod(0o640)
    site.run()
    assert stat.S_IMODE(site.homeserver.stat().st_mode) == 0o640
    assert stat.S_IMODE(site.state.stat().st_mode) == 0o700
    kept = [path for path in site.state.rglob("*") if path.is_file()]
    assert any(SECRET in path.read_text() for path in kept)
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize(("group", "mode"), [(0, 0o640), (54321, 0o644)])
def test_our_own_file_can_be_read_by_synapse(site: Site, group: int, mode: int) -> None:
    for path in (site.drop_in.parent, site.homeserver):
        os.chown(path, 0, group)
    site.run()
    found = site.drop_in.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, 0, mode)


def test_fingerprint_follows_what_runs_and_nothing_else(site: Site) -> None:
    first = site.run().fingerprint
    site.homeserver.write_text(site.homeserver.read_text() + "\npresence: {enabled: false}\n")
    assert site.run().fingerprint == first
    site.homeserver.write_text(site.homeserver.read_text().replace("per_second: 0.5", "per_second: 7"))
    assert site.run().fingerprint != first


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("# Ansible managed\n" + HOMESERVER, 'line 1: its header says "Ansible managed"'),
        (HOMESERVER + "a: 1\na: 2\n", "'a' stands here a second time (first on line 7)"),
        ("listeners: [{type: http, port: 1, resources: [{names: [client]}]}]\n", "'federation' or 'openid'"),
        (
            "experimental_features: {msc4140_max_delayed_events_per_user: 0}\n",
            "switches delayed events off",
        ),
        (f"matrix_rtc: {{transports: [{{type: livekit, livekit_service_url: '{URL}/'}}]}}\n", f"{URL}/"),
        (
            "listeners: [{type: http, bind_addresses: ['::1'], resources: [{names: [client]}]}]\n",
            "x_forwarded",
        ),
        (HOMESERVER, "public_baseurl is not set"),
    ],
)
def test_warnings(tmp_path: Path, text: str, words: str) -> None:
    site = Site(tmp_path, text)
    site.edit_managed = True
    assert any(words in warning for warning in site.run().warnings)


def test_no_warning_without_reason(tmp_path: Path) -> None:
    text = HOMESERVER + "public_baseurl: https://matrix.lab.test\n# Managed by hand, see docs.ansible.com\n"
    assert Site(tmp_path, text).run().warnings == []


# What units read ---------------------------------------------------------------------------------------

MAIN = """\
Id=matrix-synapse.service
LoadState=loaded
WorkingDirectory=FOLDER
ExecStart={ path=/p ; argv[]=/p -m s -c homeserver.yaml --config-path=FOLDER/conf.d ; ignore_errors=no }
"""
WORKER = """\
Id=worker.service
LoadState=loaded
ExecStart={ path=/p ; argv[]=/p -m w OPTIONS ; ignore_errors=no }
"""


def test_units_that_read_everything(site: Site) -> None:
    (site.folder / "worker.yaml").write_text("worker_app: synapse.app.generic_worker\n")
    site.units = ("matrix-synapse", "worker", "wrapped")
    options = "-cFOLDER/homeserver.yaml --config-path FOLDER/conf.d/ -c FOLDER/worker.yaml"
    site.shown = "\n".join([MAIN, WORKER.replace("OPTIONS", options), WORKER.replace("OPTIONS", "")])
    assert site.run(extra_well_known_client_content=None).warnings == []


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        (
            WORKER.replace("OPTIONS", "-c FOLDER/homeserver.yaml"),
            "does not read FOLDER/conf.d/, so",
        ),
        (WORKER.replace("OPTIONS", "-c FOLDER/worker.yaml"), "FOLDER/homeserver.yaml and FOLDER/conf.d/"),
        ("Id=worker.service\nLoadState=not-found\n", "systemd knows no unit worker.service"),
        (
            WORKER.replace("OPTIONS", "-c FOLDER/homeserver.yaml -c FOLDER/conf.d -c FOLDER/worker.yaml"),
            "FOLDER/worker.yaml, which worker.service reads too, has its own rc_message",
        ),
    ],
)
def test_units_that_do_not(site: Site, unit: str, words: str) -> None:
    (site.folder / "worker.yaml").write_text("rc_message: {per_second: 1, burst_count: 1}\n")
    site.units, site.shown = ("matrix-synapse", "worker"), f"{MAIN}\n{unit}"
    warnings = site.run(extra_well_known_client_content=None).warnings
    assert any(words.replace("FOLDER", str(site.folder)) in warning for warning in warnings)


def test_a_worker_may_answer_openid_questions(site: Site) -> None:
    clients = "[{type: http, port: 8008, resources: [{names: [client]}]}]"
    site.homeserver.write_text(f"listeners: {clients}\n")
    (site.folder / "worker.yaml").write_text(f"worker_listeners: {clients.replace('client', 'openid')}\n")
    site.units = ("worker",)
    options = "-c FOLDER/homeserver.yaml -c FOLDER/conf.d -c FOLDER/worker.yaml"
    site.shown = WORKER.replace("OPTIONS", options)
    assert site.run(extra_well_known_client_content=None).warnings == []
    site.units = ()
    assert "'federation' or 'openid'" in site.run(extra_well_known_client_content=None).warnings[0]


# Over several runs -----------------------------------------------------------------------------------


def test_way_back_is_offered_until_it_is_confirmed(site: Site) -> None:
    first = site.run()
    offered = {entry["path"]: entry["backup"] for entry in first.rollback_files}
    assert offered.keys() == {str(site.homeserver), str(site.drop_in)}
    backup = offered[str(site.homeserver)]
    assert backup is not None
    assert Path(backup).read_text() == HOMESERVER
    assert offered[str(site.drop_in)] is None
    assert site.run().rollback_files == first.rollback_files
    site.confirm()
    assert site.run().rollback_files == []


def test_way_back_is_not_offered_over_a_later_edit(site: Site) -> None:
    site.run()
    site.homeserver.write_text(site.homeserver.read_text() + "# edited since\n")
    assert [entry["path"] for entry in site.run().rollback_files] == [str(site.drop_in)]


def test_way_back_leads_to_the_last_confirmed_state(site: Site) -> None:
    site.run()
    site.confirm()
    confirmed = site.homeserver.read_text()
    site.run(rc_message={"per_second": 2, "burst_count": 60})
    site.run(rc_message={"per_second": 3, "burst_count": 60})
    backups = {entry["path"]: entry["backup"] for entry in site.run().rollback_files}
    assert Path(backups[str(site.homeserver)] or "").read_text() == confirmed


class KilledError(BaseException):
    """Stands for a SIGKILL."""


@pytest.mark.parametrize("survived", range(9))
def test_killed_anywhere_the_next_run_finishes(
    site: Site, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    before = {path: path.read_bytes() for path in (site.homeserver,)}
    writes = 0

    def renaming(source: str, target: str, rename: Any = os.rename) -> None:
        nonlocal writes
        if writes == survived:
            raise KilledError
        writes += 1
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", renaming)
        try:
            site.run()
        except KilledError:
            assert writes == survived
        else:
            assert survived > 4, "the run writes more files than that"
    finished = site.run()
    assert {entry["path"] for entry in finished.rollback_files} == {str(site.homeserver), str(site.drop_in)}
    third = site.run()
    assert not third.changed
    assert third.fingerprint == finished.fingerprint
    assert third.rollback_files == finished.rollback_files
    site.run(present=False)
    assert {path: path.read_bytes() for path in before} == before
    assert not site.drop_in.exists()


def test_a_roll_back_is_followed_by_another_try(site: Site) -> None:
    site.run()
    for entry in site.run().rollback_files:
        if entry["backup"]:
            Path(str(entry["path"])).write_bytes(Path(entry["backup"]).read_bytes())
        else:
            Path(str(entry["path"])).unlink()
    again = site.run()
    assert again.changed
    assert len(again.rollback_files) == 2
    site.run(present=False)
    assert site.homeserver.read_text() == HOMESERVER


def test_another_domain_replaces_our_entry(site: Site) -> None:
    site.run()
    site.run(url="https://new.lab.test/livekit/jwt")
    urls = [entry["livekit_service_url"] for entry in site.data()["matrix_rtc"]["transports"]]
    assert urls == ["https://new.lab.test/livekit/jwt"]
    foci = site.data()["extra_well_known_client_content"]["org.matrix.msc4143.rtc_foci"]
    assert [entry["livekit_service_url"] for entry in foci] == urls
    site.run(present=False)
    assert site.homeserver.read_text() == HOMESERVER


def test_an_entry_of_the_operators_stays_when_ours_goes(site: Site) -> None:
    theirs = f"matrix_rtc:\n  transports:\n    - type: livekit\n      livekit_service_url: {URL}\n"
    site.homeserver.write_text(HOMESERVER + theirs)
    site.run()
    site.run(url="https://new.lab.test/livekit/jwt")
    urls = [entry["livekit_service_url"] for entry in site.data()["matrix_rtc"]["transports"]]
    assert urls == [URL, "https://new.lab.test/livekit/jwt"]
    site.run(present=False)
    assert site.homeserver.read_text() == HOMESERVER + theirs


def test_our_limit_can_be_lowered_again_but_never_below_the_operators(site: Site) -> None:
    site.run(rc_message={"per_second": 5, "burst_count": 500})
    assert site.data()["rc_message"] == {"per_second": 5, "burst_count": 500}
    site.run(rc_message={"per_second": 0.4, "burst_count": 30})
    assert site.data()["rc_message"] == {"per_second": 0.4, "burst_count": 50}
    site.run(rc_message={"per_second": 0.1, "burst_count": 10})
    assert site.data()["rc_message"] == {"per_second": 0.3, "burst_count": 50}


def test_every_byte_comes_back_after_several_changes_of_ours(site: Site) -> None:
    spelled = HOMESERVER.replace("msc3881_enabled: true", "msc4222_enabled: No   # not yet")
    site.homeserver.write_text(spelled)
    site.run()
    site.run(rc_message={"per_second": 5, "burst_count": 500})
    site.run(url="https://new.lab.test/livekit/jwt")
    site.run(present=False)
    assert site.homeserver.read_text() == spelled


def test_a_limit_the_operator_changed_since_is_the_operators(site: Site) -> None:
    site.run()
    site.homeserver.write_text(site.homeserver.read_text().replace("per_second: 0.5", "per_second: 0.9"))
    assert not site.run().changed
    site.run(present=False)
    assert site.data()["rc_message"] == {"per_second": 0.9, "burst_count": 50}
    assert "org.matrix.msc4143.rtc_foci" not in site.data()["extra_well_known_client_content"]


def test_keys_the_operator_adds_to_our_entry_stay(site: Site) -> None:
    site.run()
    text = site.drop_in.read_text()
    site.drop_in.write_text(
        text.replace(f"livekit_service_url: {URL}", f"livekit_service_url: {URL}\n      n: 1")
    )
    assert not site.run().changed
    assert site.data()["matrix_rtc"]["transports"][0]["n"] == 1


def test_a_key_the_operator_defines_later_is_edited_there(site: Site) -> None:
    site.run()
    later = site.drop_in.parent / "mine.yaml"
    later.write_text("max_event_delay_duration: 1h   # mine\n")
    site.run()
    assert later.read_text() == "max_event_delay_duration: 24h   # mine\n"
    assert "max_event_delay_duration" not in site.drop_in.read_text()
    site.run(present=False)
    assert later.read_text() == "max_event_delay_duration: 1h   # mine\n"
    assert not site.drop_in.exists()


def test_a_setting_no_longer_wanted_goes(site: Site) -> None:
    site.run()
    site.run(extra_well_known_client_content=None)
    assert site.data()["extra_well_known_client_content"].keys() == {"io.element.e2ee", "key"}


def test_our_own_file_goes_even_when_the_record_is_lost(site: Site) -> None:
    site.run()
    (site.state / "record.json").unlink()
    site.run(present=False)
    assert not site.drop_in.exists()


def test_our_own_file_stays_where_synapses_signing_key_depends_on_it(site: Site) -> None:
    base = site.drop_in.parent / "server_name.yaml"
    without_key = "".join(line for line in BASE.splitlines(True) if not line.startswith("signing_key"))
    base.write_text(without_key)
    site.run()
    site.homeserver.write_text(site.homeserver.read_text() + without_key)
    base.unlink()
    site.run(present=False)
    assert site.drop_in.read_text().startswith(HEADER)
    assert yaml.safe_load(site.drop_in.read_text()) is None


def test_absent_without_a_record_changes_nothing(site: Site) -> None:
    assert not site.run(present=False).changed
    assert site.homeserver.read_text() == HOMESERVER


def test_two_runs_at_once(site: Site) -> None:
    site.run()
    state = StateDirectory(str(site.state))
    with state.locked(create=True), pytest.raises(StateError, match="another run"):
        site.run()


def test_an_edit_by_somebody_else_during_the_run_is_noticed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def edit_and_accept(*_: object) -> Verdict:
        site.homeserver.write_text(HOMESERVER + "# edited meanwhile\n")
        return Verdict()

    monkeypatch.setattr(Accepting, "judge", edit_and_accept)
    with pytest.raises(ConfigError, match="changed by somebody else"):
        site.run()
    assert site.homeserver.read_text() == HOMESERVER + "# edited meanwhile\n"


@pytest.mark.parametrize("damage", ["{", "[]", '{"format": 2}'])
def test_a_damaged_record_is_said_to_be_one(site: Site, damage: str) -> None:
    site.run()
    (site.state / "record.json").write_text(damage)
    with pytest.raises(StateError, match=r"record\.json"):
        site.run()


def test_a_link_stays_a_link(site: Site) -> None:
    real = site.folder / "real.yaml"
    site.homeserver.rename(real)
    site.homeserver.symlink_to(real)
    paths = [entry["path"] for entry in site.run().rollback_files]
    assert site.homeserver.is_symlink()
    assert str(real) in paths


@pytest.mark.parametrize("value", ["24hours", "", 0, True, "-1h", "h"])
def test_a_wanted_duration_must_be_one(site: Site, value: Any) -> None:
    with pytest.raises(ConfigError, match="Set it to one such as 24h"):
        site.run(max_event_delay_duration=value)


def test_a_synapse_without_delayed_events_is_refused(site: Site) -> None:
    site.synapse = Accepting("1.115.0", site.folder)
    with pytest.raises(ConfigError, match="Upgrade it to"):
        site.run()


# With the real Synapse -------------------------------------------------------------------------------


@pytest.fixture
def real(site: Site) -> Site:
    user = pwd.getpwuid(os.geteuid()).pw_name
    site.synapse = Synapse(synapse_python(), user, str(site.folder))
    (site.drop_in.parent / "server_name.yaml").write_text(BASE.replace("media_store_path: .\n", ""))
    return site


def test_real_synapse_accepts_without_any_trace(real: Site) -> None:
    began = time.monotonic()
    assert real.run().version == VERSION
    taken = time.monotonic() - began
    assert not (real.folder / "media_store").exists()
    assert not list(real.folder.rglob("*.signing.key"))
    began = time.monotonic()
    real.confirm()
    assert not real.run().changed
    assert time.monotonic() - began < taken / 2, "Synapse is not asked when nothing changes"


def test_real_synapse_finds_its_signing_key_beside_its_last_file(real: Site) -> None:
    base = real.drop_in.parent / "server_name.yaml"
    key = next(line for line in BASE.splitlines() if line.startswith("signing_key")).partition(": ")[2]
    base.write_text("".join(line for line in BASE.splitlines(True) if not line.startswith("signing_key")))
    (base.parent / "lab.test.signing.key").write_text(key + "\n")
    assert real.run().changed
    assert [path.name for path in real.folder.rglob("*.signing.key")] == ["lab.test.signing.key"]


def test_real_synapse_refuses_and_nothing_is_written(real: Site) -> None:
    broken = [{"type": "livekit", "livekit_service_url": ""}]
    with pytest.raises(
        ConfigError, match=r"(?s)refuses the new settings.*Could not validate matrix_rtc"
    ) as refusal:
        real.run(matrix_rtc={"transports": broken})
    assert SECRET not in str(refusal.value)
    assert real.homeserver.read_text() == HOMESERVER
    assert not real.drop_in.exists()


def test_real_synapse_refused_it_before(real: Site) -> None:
    real.homeserver.write_text(HOMESERVER + f"public_baseurl: no-scheme-{SECRET}\n")
    before = real.homeserver.read_text()
    with pytest.raises(ConfigError, match="refuses its present configuration") as refusal:
        real.run()
    assert SECRET not in str(refusal.value)
    assert real.homeserver.read_text() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become the service's user")
def test_real_synapse_is_asked_as_its_user(real: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def ask(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        folder = Path(command[-1])
        places = [folder, *folder.iterdir()]
        asked.append({**options, "uids": {place.stat().st_uid for place in places}})
        assert {stat.S_IMODE(place.stat().st_mode) for place in places} == {0o700, 0o400}
        assert any(SECRET in place.read_text() for place in places[1:])
        assert SECRET not in str(command)
        return subprocess.CompletedProcess(command, 0, f'{MARK}{{"accepted": true, "wrong": []}}\n', "")

    monkeypatch.setattr(subprocess, "run", ask)
    nobody = pwd.getpwnam("nobody")
    synapse = Synapse("/srv/bin/python", "nobody", str(real.folder))
    files = read_layout(real.config, str(real.folder), "").files
    assert synapse.judge(files, files, {}) == Verdict()
    assert asked[0]["uids"] == {nobody.pw_uid}
    assert (asked[0]["user"], asked[0]["group"]) == (nobody.pw_uid, nobody.pw_gid)
    assert asked[0]["cwd"] == str(real.folder)


def test_words_of_synapse_are_about_the_real_files_and_without_values(site: Site) -> None:
    program = site.folder / "python"
    program.write_text(
        "#!/bin/sh\n"
        "echo 'Traceback (most recent call last):'\n"
        "echo '  File \"a.py\", line 1'\n"
        'echo "pydantic.ValidationError: 1 error in $2/after-0.yaml"\n'
        f"echo \"  Input should be a string [type=string_type, input_value='{SECRET}', input_type=str]\"\n"
        f'echo \'{MARK}{{"accepted": false, "accepted_before": false}}\'\n'
    )
    program.chmod(0o755)
    synapse = Synapse(str(program), pwd.getpwuid(os.geteuid()).pw_name, str(site.folder))
    files = read_layout(site.config, str(site.folder), "").files
    assert synapse.judge(files, files, {}).words == (
        f"pydantic.ValidationError: 1 error in {site.homeserver}\n"
        "  Input should be a string [type=string_type, input_value=..."
    )


@pytest.mark.parametrize(
    ("synapse", "words"),
    [
        (Synapse("/no/such/python", "root", "/"), "cannot be run"),
        (Synapse("/usr/bin/env", "no-such-user-here", "/"), "no user"),
    ],
)
def test_a_synapse_that_cannot_be_asked(synapse: Synapse, words: str) -> None:
    with pytest.raises(SynapseError, match=words):
        synapse.version()


# The module ------------------------------------------------------------------------------------------


def documented(options: dict[str, Any]) -> dict[str, Any]:
    """Options of a module's documentation in the form of an argument specification."""
    facts = ("type", "elements", "required", "default", "choices")
    return {
        name: {
            **{fact: option[fact] for fact in facts if fact in option},
            **({"options": documented(option["suboptions"])} if "suboptions" in option else {}),
        }
        for name, option in options.items()
    }


@pytest.mark.parametrize("module", [synapse_settings, well_known_client])
def test_documentation_says_what_the_module_takes(module: Any) -> None:
    assert documented(yaml.safe_load(module.DOCUMENTATION)["options"]) == module.ARGUMENTS


# The token service behind Synapse ----------------------------------------------------------------------


def registered(site: Site, name: str = "ours", as_token: str = SECRET) -> dict[str, Any]:
    """The setting for a registration that is there."""
    path = site.folder / f"{name}.registration"
    path.write_text(document(as_token, f"{SECRET}-{name}", "lab.test", "http://127.0.0.1:8080"))
    return {"app_service_config_files": [str(path)]}


def test_a_changed_registration_is_a_reason_to_restart(site: Site) -> None:
    first = site.run(**registered(site))
    assert site.run(**registered(site)).fingerprint == first.fingerprint
    again = site.run(**registered(site, as_token="another"))
    assert (again.changed, again.fingerprint == first.fingerprint) == (False, False)


def test_an_old_synapse_cannot_have_the_token_service_behind_it(site: Site) -> None:
    site.synapse = Accepting("1.160.2", site.folder)
    with pytest.raises(ConfigError, match=r"1\.160\.2 cannot have .* behind it\. Upgrade it to 1\.161"):
        site.run(**registered(site))
    assert not site.drop_in.exists()


def test_real_synapse_takes_the_registration_that_is_there_and_one_that_is_yet_to_come(real: Site) -> None:
    wanted = registered(real)
    assert real.run(check_mode=True, app_service_config_files=[str(real.folder / "later")]).changed
    assert real.run(**wanted).changed
    assert real.data()["app_service_config_files"] == wanted["app_service_config_files"]


def test_real_synapse_refuses_a_second_service_of_that_name_and_no_token_is_shown(real: Site) -> None:
    (twin,) = registered(real, "twin")["app_service_config_files"]
    real.homeserver.write_text(f"{HOMESERVER}app_service_config_files: [{twin}]\n")
    with pytest.raises(ConfigError, match=r"(?s)refuses the new settings.*Cannot reuse ID") as refusal:
        real.run(**registered(real, as_token="b" * 40))
    Path(twin).write_text(Path(twin).read_text().replace("matrixrtc-token-service", "bridge"))
    with pytest.raises(ConfigError, match="Cannot reuse as_token") as second:
        real.run(**registered(real))
    assert SECRET not in f"{refusal.value}{second.value}"
    assert not real.drop_in.exists()


def test_the_sfus_own_address_comes_and_goes_in_the_entry_that_is_ours(site: Site) -> None:
    site.run()
    plain = site.drop_in.read_text()
    wired = {"transports": [{"type": "livekit", "livekit_service_url": URL, "url": "wss://rtc.lab.test/sfu"}]}
    (line,) = (line for line in site.run(matrix_rtc=wired).changes if "transports" in line)
    assert f'transports[{URL}].url: not set -> "wss://rtc.lab.test/sfu"' in line
    assert site.data()["matrix_rtc"] == wired
    assert not site.run(matrix_rtc=wired).changed
    moved = {"transports": [{**wired["transports"][0], "url": "wss://rtc.lab.test/other"}]}
    site.run(matrix_rtc=moved)
    assert site.data()["matrix_rtc"] == moved
    site.run()
    assert site.drop_in.read_text() == plain


@pytest.mark.parametrize("layout", [["homeserver.yaml", "conf.d/"], ["conf.d/", "homeserver.yaml"]])
def test_the_mode_comes_and_goes_and_the_files_are_what_they_were(site: Site, layout: list[str]) -> None:
    site.config = layout
    files = [site.homeserver, site.drop_in]

    def texts() -> list[str]:
        return [path.read_text() if path.exists() else "" for path in files]

    site.run()
    before = texts()
    flags = {
        "msc4143_enabled": True,
        "msc4222_enabled": True,
        "msc4502_enabled": True,
        "msc4512_enabled": True,
    }
    behind = {**registered(site), "experimental_features": flags}
    site.run(**behind)
    wired = {"transports": [{"type": "livekit", "livekit_service_url": URL, "url": "wss://rtc.lab.test/sfu"}]}
    site.run(**behind, matrix_rtc=wired)
    assert site.data()["app_service_config_files"]
    site.run()
    assert texts() == before


def test_an_address_of_the_operators_own_stays(site: Site) -> None:
    entry = {"type": "livekit", "livekit_service_url": URL, "url": "wss://rtc.lab.test/theirs"}
    theirs = HOMESERVER + f"matrix_rtc: {json.dumps({'transports': [entry]})}\n"
    site.homeserver.write_text(theirs)
    site.run()
    assert site.data()["matrix_rtc"] == {"transports": [entry]}
    site.run(present=False)
    assert site.homeserver.read_text() == theirs
