"""Whatever a configuration looks like: refused with its place, or nothing of the operator's is lost.

Hypothesis writes the configurations, Synapse's own loader is the judge. The examples are the same in every
run; MATRIXRTC_EXAMPLES=5000 looks at that many new ones instead.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.synapse_files import ConfigError, find_files
from ansible_collections.matrixrtc.backend.plugins.module_utils.synapse_policy import parse_duration
from ansible_collections.matrixrtc.backend.plugins.module_utils.synapse_settings import Request, apply
from hypothesis import HealthCheck, Phase, event, given, settings

from tests.unit.synapse_cases.generated import NOTE, Files, configurations
from tests.unit.synapse_cases.homeserver import BASE, SERVICE_URL, VERSION, Accepting, Loader

EXAMPLES = int(os.environ.get("MATRIXRTC_EXAMPLES", "300"))
OURS = {"type": "livekit", "livekit_service_url": SERVICE_URL}
WANTED: dict[str, Any] = {
    "max_event_delay_duration": "24h",
    "experimental_features": {"msc4143_enabled": True, "msc4222_enabled": True},
    "matrix_rtc": {"transports": [OURS]},
    "rc_message": {"per_second": 0.5, "burst_count": 30},
    "rc_delayed_event_mgmt": {"per_second": 6.0, "burst_count": 30},
    "extra_well_known_client_content": {"org.matrix.msc4143.rtc_foci": [OURS]},
}
LISTS = {
    "matrix_rtc": "transports",
    "extra_well_known_client_content": "org.matrix.msc4143.rtc_foci",
}


class Site:
    """One generated configuration on disk."""

    def __init__(self, folder: Path, files: Files, loader: Loader) -> None:
        self.folder, self.files, self.loader = folder, files, loader
        (folder / "base.yaml").write_text(BASE)
        for path, data in files.contents.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_bytes(data)

    def run(self, present: bool = True) -> Any:
        synapse = Accepting(VERSION, self.folder)
        state = str(self.folder / ".state")
        return apply(Request(synapse, self.files.config, WANTED, state, "zz-matrixrtc.yaml", present))

    def bytes(self) -> dict[str, bytes]:
        """All files of the configuration."""
        paths = [path for path in self.folder.rglob("*") if path.is_file() and ".state" not in path.parts]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in paths}

    def read(self) -> dict[str, Any] | None:
        """What Synapse's own loader reads: by key its shape and value; None when it cannot read it."""
        paths = find_files(str(self.folder / path) for path in self.files.config)
        found: dict[str, Any] | None = self.loader.read(paths).get("read")
        return found


class Judge:
    """The loader, and how the examples ended. Hypothesis tells its arguments, so it keeps to a short name."""

    def __init__(self) -> None:
        self.loader = Loader()
        self.ended: list[str] = []

    def __repr__(self) -> str:
        return "judge"


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    one = Judge()
    yield one
    one.loader.close()
    # the property is not to be held by refusing everything, nor by never refusing anything
    assert one.ended.count("edited") >= len(one.ended) / 2
    assert one.ended.count("refused") >= len(one.ended) / 20


@pytest.fixture(scope="module", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@settings(
    max_examples=EXAMPLES,
    derandomize="MATRIXRTC_EXAMPLES" not in os.environ,
    database=None,
    deadline=None,
    # making a failure smaller takes minutes, and the examples are small as they are
    phases=(Phase.explicit, Phase.generate),
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
@given(files=configurations())
def test_refused_with_its_place_or_nothing_is_lost(judge: Judge, files: Files) -> None:
    folder = Path(tempfile.mkdtemp(prefix="matrixrtc-"))
    try:
        outcome = hold(Site(folder, files, judge.loader))
    finally:
        shutil.rmtree(folder)
    judge.ended.append(outcome)
    event(outcome)


def hold(site: Site) -> str:
    """The property, for one configuration."""
    bytes_before, before = site.bytes(), site.read()
    refusal = ""
    try:
        first = site.run()
    except ConfigError as error:
        refusal = str(error)
    if refusal:
        assert re.match(rf"{re.escape(str(site.folder))}/\S+, line \d+\b", refusal), refusal
        assert site.bytes() == bytes_before
        return "refused"
    after = site.read()
    assert before is not None, "Synapse cannot read it, so it has to be refused"
    assert after is not None, "Synapse cannot read it any more"
    check_values(before, after)
    check_notes(bytes_before, site.bytes())
    second = site.run()
    assert (second.changed, second.changes) == (False, [])
    assert second.fingerprint == first.fingerprint
    site.run(present=False)
    assert site.bytes() == bytes_before
    return "edited" if first.changed else "complete"


def check_values(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Every value of the operator's is what it was, ours are in effect."""
    for key, found in before.items():
        if key not in WANTED:
            assert after.get(key, {}).get("shape") == found["shape"], key
    assert after.keys() == {*before, *WANTED}
    old = {key: found["value"] for key, found in before.items()}
    new = {key: found["value"] for key, found in after.items()}
    check_duration(old.get("max_event_delay_duration"), new["max_event_delay_duration"])
    for key in ("rc_message", "rc_delayed_event_mgmt"):
        check_section(old.get(key), new[key], set(WANTED[key]))
        for name, least in WANTED[key].items():
            assert float(new[key][name]) >= max(least, number((old.get(key) or {}).get(name)))
    flags = set(WANTED["experimental_features"])
    check_section(old.get("experimental_features"), new["experimental_features"], flags)
    assert all(new["experimental_features"][flag] for flag in flags)
    for key, name in LISTS.items():
        check_section(old.get(key), new[key], {name})
        check_entries((old.get(key) or {}).get(name) or [], new[key][name])


def check_duration(old: Any, new: Any) -> None:
    assert parse_duration(new) >= max(parse_duration("24h"), parse_duration(old) if old else 0)


def check_section(old: Any, new: Any, ours: set[str]) -> None:
    """Whatever else stands in a section is as it was."""
    rest = {name: value for name, value in (old or {}).items() if name not in ours}
    assert {name: value for name, value in new.items() if name not in ours} == rest


def check_entries(old: list[Any], new: list[Any]) -> None:
    """The operator's entries in their order and with all their keys, then ours if it was not there."""
    assert len(new) - len(old) in (0, 1)
    for mine, now in zip(old, new, strict=False):
        assert {**now, **mine} == now
    assert [one.get("livekit_service_url") for one in new].count(SERVICE_URL) >= 1


def check_notes(before: dict[str, bytes], after: dict[str, bytes]) -> None:
    """No comment is lost or moved over another."""
    pattern = re.compile(NOTE.encode() + rb"\d+;")
    for path, data in before.items():
        assert pattern.findall(after[path]) == pattern.findall(data)


def number(value: Any) -> float:
    """A limit of the operator's, as far as it is one."""
    try:
        found = float(value) if not isinstance(value, bool) else 0
    except (TypeError, ValueError):
        return 0
    return 0 if math.isnan(found) else found
