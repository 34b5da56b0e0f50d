"""Homeserver configurations as they are found in the wild, each result loaded by the real synapse.config."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.matrixrtc.backend.plugins.module_utils.synapse_files import ConfigError, read_layout

from tests.unit.synapse_cases.homeserver import CASES, REGISTRATION, SERVICE_URL, VERSION, Case, Loader, run

ACCEPTED = [case for case in CASES if not case.refused]
REFUSED = [case for case in CASES if case.refused]
# What our settings may change of what Synapse makes of a configuration, by section and attribute.
OURS = {
    ("appservice", "app_service_config_files"),
    ("experimental", "msc4502_enabled"),
    ("experimental", "msc4512_enabled"),
    ("experimental", "msc4143_enabled"),
    ("experimental", "msc4222_enabled"),
    ("matrix_rtc", "transports"),
    ("ratelimiting", "rc_message"),
    ("ratelimiting", "rc_delayed_event_mgmt"),
    ("server", "max_event_delay_duration"),
    ("server", "msc4140_enabled"),
    ("server", "extra_well_known_client_content"),
    ("server", "listeners"),
}
# Cases in which an entry of ours goes back to a value that the operator had spelled in some other way.
SPELLED_ANEW = {
    "flag_as_text",
    "flags_switched_on",
    "flow_empty",
    "flow_one_line",
    "null_in_flow",
    "null_sections",
    "null_written_out",
    "text_limits",
}
DAY = 24 * 3600 * 1000


def contents(folder: Path) -> dict[str, bytes]:
    """All files of the configuration, by relative path."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in files
        if ".state" not in path.relative_to(folder).parts
    }


def data_of(files: dict[str, bytes]) -> dict[str, Any]:
    """What each file says."""
    return {path: yaml.safe_load(text.decode()) for path, text in files.items() if path.endswith(".yaml")}


def is_in_order(words: list[bytes], others: list[bytes]) -> bool:
    """Whether all words stand among the others, in their order."""
    rest = iter(others)
    return all(word in rest for word in words)


@pytest.fixture(scope="module")
def loader() -> Iterator[Loader]:
    one = Loader()
    yield one
    one.close()


@pytest.fixture(params=ACCEPTED, ids=lambda case: str(case.name))
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    one: Case = request.param
    one.write(tmp_path)
    return one


def test_there_are_enough_cases() -> None:
    assert len(ACCEPTED) >= 40


def test_result_is_exactly_as_written_down(case: Case, tmp_path: Path) -> None:
    before = contents(tmp_path)
    outcome = run(case, tmp_path)
    expected = {path: case.encode(text) for path, text in case.before.items()}
    for path, text in case.after.items():
        is_new = path not in case.before
        expected[path] = text.encode() if is_new else case.encode(text)
    assert contents(tmp_path) == {"base.yaml": before["base.yaml"], **expected}
    assert outcome.changed is bool(case.after)


def test_second_run_changes_nothing(case: Case, tmp_path: Path) -> None:
    first = run(case, tmp_path)
    state = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    second = run(case, tmp_path)
    assert (second.changed, second.changes) == (False, [])
    assert second.fingerprint == first.fingerprint
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == state


def test_check_mode_tells_the_same_and_writes_nothing(case: Case, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*")), contents(tmp_path)
    promised = run(case, tmp_path, check_mode=True)
    assert (sorted(tmp_path.rglob("*")), contents(tmp_path)) == before
    done = run(case, tmp_path)
    assert (promised.diff, promised.changes) == (done.diff, done.changes)
    assert promised.fingerprint == done.fingerprint


def test_absent_restores_every_byte(case: Case, tmp_path: Path) -> None:
    before = contents(tmp_path)
    run(case, tmp_path)
    run(case, tmp_path, present=False)
    assert contents(tmp_path) == before
    assert run(case, tmp_path, present=False).changed is False


def test_absent_after_an_edit_takes_out_only_ours(case: Case, tmp_path: Path) -> None:
    before = contents(tmp_path)
    run(case, tmp_path)
    edited = [path for path in case.after if path in before]
    for path in edited:
        text = (tmp_path / path).read_bytes()
        (tmp_path / path).write_bytes(text + (b"" if text.endswith(b"\n") else b"\n") + b"# touched\n")
    run(case, tmp_path, present=False)
    after = contents(tmp_path)
    assert data_of(after) == data_of(before)
    for path in edited:
        assert after[path].endswith(b"# touched\n")
        assert b"Element Call" not in after[path]
        if case.name not in SPELLED_ANEW:
            assert is_in_order(before[path].split(), after[path].split())


@pytest.fixture
def loaded(case: Case, tmp_path: Path, loader: Loader) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the real Synapse makes of a case before and after; {} before when it could not load it."""
    if case.name not in loader.known:
        before = loader.load(tmp_path, case.config)
        run(case, tmp_path)
        loader.known[case.name] = before, loader.load(tmp_path, case.config)
    before, after = loader.known[case.name]
    assert ("values" in before) is case.is_valid_before, before
    assert "values" in after, after
    return before.get("values", {}), after["values"]


def test_real_synapse_has_our_settings(case: Case, loaded: tuple[dict[str, Any], dict[str, Any]]) -> None:
    _, after = loaded
    assert after["server"]["max_event_delay_duration"] >= DAY
    assert after["server"]["msc4140_enabled"] is True
    assert after["experimental"]["msc4222_enabled"] is True
    assert after["ratelimiting"]["rc_message"]["per_second"] >= 0.5
    assert after["ratelimiting"]["rc_message"]["burst_count"] >= 30
    transports = case.wanted()["matrix_rtc"]["transports"]
    if case.version == VERSION:
        assert after["experimental"]["msc4143_enabled"] is bool(after["matrix_rtc"]["transports"])
        assert after["ratelimiting"]["rc_delayed_event_mgmt"]["per_second"] >= 6
        assert after["ratelimiting"]["rc_delayed_event_mgmt"]["burst_count"] >= 30
        urls = [entry.get("livekit_service_url") for entry in after["matrix_rtc"]["transports"]]
        assert urls.count(SERVICE_URL) == bool(transports)
    if case.options.get("token service behind"):
        (own,) = [entry for entry in after["matrix_rtc"]["transports"] if entry.get("url")]
        assert own["livekit_service_url"] == SERVICE_URL
        assert after["appservice"]["app_service_config_files"][-1] == REGISTRATION
        assert after["experimental"]["msc4502_enabled"] is after["experimental"]["msc4512_enabled"] is True
    if case.options.get("serves well-known"):
        foci = after["server"]["extra_well_known_client_content"]["org.matrix.msc4143.rtc_foci"]
        assert foci[-1] == transports[0]


def test_real_synapse_keeps_the_operators_settings(
    case: Case, loaded: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    before, after = loaded
    for section, values in before.items():
        for name, value in values.items():
            if (section, name) not in OURS:
                assert after[section][name] == value, (section, name)
    if before:
        for name in ("rc_message", "rc_delayed_event_mgmt"):
            for limit, value in before["ratelimiting"][name].items():
                assert after["ratelimiting"][name][limit] >= float(value)
        theirs = before["matrix_rtc"]["transports"]
        for was, now in zip(theirs, after["matrix_rtc"]["transports"], strict=False):
            assert {**now, **was} == now
        kept = before["server"]["extra_well_known_client_content"]
        assert {**after["server"]["extra_well_known_client_content"], **kept}.keys() >= kept.keys()


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: str(case.name))
def test_refusal_names_file_and_line_and_changes_nothing(case: Case, tmp_path: Path) -> None:
    case.write(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ConfigError) as refusal:
        run(case, tmp_path)
    told = str(refusal.value).replace(str(tmp_path), "{folder}")
    for line in case.refused.splitlines():
        assert line in told
    if case.name != "refused_missing_file":
        assert re.match(r"\{folder\}/\S+, line \d+\b", told)
    assert "secret" not in told
    assert contents(tmp_path) == before


def test_files_are_found_in_synapses_order(tmp_path: Path) -> None:
    case = next(one for one in CASES if one.name == "directory_order")
    case.write(tmp_path)
    layout = read_layout(case.config, str(tmp_path), "zz-matrixrtc.yaml")
    names = [Path(file.path).name for file in layout.files]
    assert names == ["base.yaml", "homeserver.yaml", ".hidden.yaml", "10.yaml", "9.yaml", "Z.yaml", "a.yaml"]
