"""A rotation of keys: whatever is killed, and whoever runs in between, no token is refused."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from ansible_collections.matrixrtc.backend.plugins.module_utils.credentials import CredentialFile, provide
from ansible_collections.matrixrtc.backend.plugins.module_utils.rotation import (
    PREPARE,
    REPLACE,
    RETIRE,
    SETTLED,
    Ledger,
    Pair,
    RotationError,
    abort,
    begin,
    chosen,
    leaked,
    read,
    restarts,
    settle,
    sign,
    stamp,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.rotation_steps import (
    Asked,
    next_ledger,
    store,
)
from hypothesis import given, settings
from hypothesis import strategies as st

LIFE = 100
OLD = Pair("matrixrtc", "q8Zk3Vn6Xb1Rw9Lt4Yp7Hd2Mf5Cg0SjT")
NEW = Pair("matrixrtc-2", "k7Wq2mZx9Lr4Tn8Vb3Yd6Hc1Pf5Sg0Ju")
THIRD = Pair("matrixrtc-3", "d4Fh8Jk2Lz6Xc0Vb5Nm9Qw3Er7Ty1UiO")
ME, MINE = os.geteuid(), os.getegid()
MADE = Asked("", Pair("matrixrtc"), Pair(""), LIFE)


@dataclass
class World:
    """A host: its files, what the services were last started on, and the tokens that are about."""

    folder: Path
    asked: Asked = MADE
    now: float = 1000.0
    accepted: dict[str, str] = field(default_factory=dict)
    read_last: str = ""
    webhook: str = ""
    signing: Pair = OLD
    tokens: list[tuple[Pair, float]] = field(default_factory=list)
    restarts: int = 0

    @property
    def ledger_path(self) -> str:
        return str(self.folder / "rotation.json")

    @property
    def secret_path(self) -> str:
        return str(self.folder / "secret")

    @property
    def ledger(self) -> Ledger | None:
        return read(self.ledger_path)

    def _provide(self, *files: CredentialFile) -> str:
        pair = self.asked.given
        return provide(pair.key, pair.secret, self.secret_path, files, False, self.ledger).webhook_key

    def livekit(self) -> None:
        keys = CredentialFile(str(self.folder / "keys.yaml"), ME, MINE, format="livekit_keys")
        webhook = self._provide(keys)
        text = Path(keys.path).read_text()
        self.restarts += (text, webhook) != (self.read_last, self.webhook)
        self.accepted, self.read_last, self.webhook = yaml.safe_load(text), text, webhook

    def service(self) -> None:
        files = [
            CredentialFile(str(self.folder / kind), ME, MINE, format=kind.removeprefix("service_"))
            for kind in ("service_key", "service_secret")
        ]
        self._provide(*files)
        self.signing = Pair(*(Path(file.path).read_text().strip() for file in files))

    def step(self, step: str) -> bool:
        before = self.ledger
        if step == "sign" and before and before.stage == PREPARE and before.other:
            assert self.accepted.get(before.other.key) == before.other.secret
        after = next_ledger(step, before, self.asked, self.secret_path, self.now)
        if after is None or after == before:
            return False
        store(self.ledger_path, self.secret_path, after, before)
        return True

    def run(self, request: str = "", until: int = 99) -> None:
        """The playbook, killed after `until` of its actions."""
        self.asked = replace(self.asked, request=request)
        actions = [
            lambda: self.step("begin"),
            self.livekit,
            self.service,
            lambda: self.step("sign"),
            self.service,
            lambda: self.step("stamp"),
            lambda: self.step("settle"),
            self.livekit,
        ]
        for action in actions[:until]:
            action()
            self.check()

    def site(self) -> None:
        self.livekit()
        self.check()
        self.service()
        self.check()

    def check(self) -> None:
        """A user gets a token every second: it, and all that have not run out, are accepted."""
        self.now += 1
        self.tokens.append((self.signing, self.now + LIFE))
        self.tokens = [token for token in self.tokens if token[1] > self.now]
        for pair, _ in self.tokens:
            assert self.accepted.get(pair.key) == pair.secret, pair.key


@pytest.fixture
def world(tmp_path: Path) -> World:
    return deployed(tmp_path)


def deployed(folder: Path, asked: Asked = MADE) -> World:
    world = World(folder, asked)
    world.livekit()
    world.service()
    world.check()
    return world


def test_the_whole_way(world: World) -> None:
    before = world.signing
    world.restarts = 0
    world.run()
    assert world.ledger
    assert world.ledger.stage == RETIRE
    assert world.signing != before
    assert world.webhook == world.signing.key
    assert world.accepted == {world.signing.key: world.signing.secret, before.key: before.secret}
    world.now += LIFE / 2
    world.run()
    assert len(world.accepted) == 2
    world.now += LIFE
    world.run()
    assert world.ledger.stage == SETTLED
    assert world.accepted == {world.signing.key: world.signing.secret}
    assert world.restarts == 2
    assert before.secret not in "".join(path.read_text() for path in world.folder.iterdir())


def test_another_rotation_follows(world: World) -> None:
    for _ in range(3):
        world.run()
        world.now += LIFE + 1
        world.run("resume")
    assert world.ledger
    assert len(world.ledger.retired) == 3
    assert len(world.accepted) == 1


@pytest.mark.parametrize("until", range(9))
@pytest.mark.parametrize("waited", [0, LIFE + 20])
def test_site_yml_neither_undoes_nor_changes(world: World, until: int, waited: int) -> None:
    world.run()
    world.now += waited
    world.run(until=until)
    world.site()
    ledger, accepted, signing, restarts = world.ledger, world.accepted, world.signing, world.restarts
    world.site()
    assert (world.ledger, world.accepted, world.signing, world.restarts) == (
        ledger,
        accepted,
        signing,
        restarts,
    )


@pytest.mark.parametrize("until", range(9))
def test_killed_anywhere_and_run_again(tmp_path: Path, until: int) -> None:
    world = deployed(tmp_path)
    world.run(until=until)
    world.run()
    assert world.ledger
    assert world.ledger.stage == RETIRE
    world.now += LIFE
    world.run(until=until)
    world.run("resume" if world.ledger.under_way else "abort")
    assert world.ledger.stage == SETTLED
    assert world.accepted == {world.signing.key: world.signing.secret}


@pytest.mark.parametrize("until", range(9))
def test_aborted_anywhere(tmp_path: Path, until: int) -> None:
    world = deployed(tmp_path)
    before = world.signing
    world.run(until=until)
    world.run("abort")
    world.run("abort")
    assert world.signing == before
    world.now += LIFE + 10
    world.run("abort")
    assert world.signing == before
    assert world.accepted == {before.key: before.secret}


def test_after_a_leak_nothing_of_before_is_accepted(world: World) -> None:
    leaked = world.signing
    world.tokens.clear()
    world.asked = replace(world.asked, request="emergency")
    world.step("begin")
    assert world.ledger
    assert world.ledger.stage == REPLACE
    fresh = world.ledger.current
    world.step("begin")  # asked again after it was killed: not replaced twice
    assert world.ledger.current == fresh
    world.livekit()
    world.service()
    world.step("settle")
    assert (world.signing, world.accepted) == (fresh, {fresh.key: fresh.secret})
    assert leaked.secret not in "".join(path.read_text() for path in world.folder.iterdir())
    with pytest.raises(RotationError, match="does not come back"):
        next_ledger("begin", Ledger(REPLACE, fresh), replace(MADE, request="abort"), world.secret_path, 0)


RUNS = st.tuples(st.sampled_from(["", "", "abort"]), st.integers(0, 8))
EVENTS = st.one_of(RUNS, st.just("site"), st.integers(1, 2 * LIFE))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(EVENTS, max_size=14))
def test_whatever_happens_no_token_is_refused(events: list[tuple[str, int] | str | int]) -> None:
    with TemporaryDirectory() as folder:
        world = deployed(Path(folder))
        for happened in events:
            if isinstance(happened, tuple):
                world.run(*happened)
            elif isinstance(happened, int):
                world.now += happened
                world.tokens = [token for token in world.tokens if token[1] > world.now]
            else:
                world.site()
        world.run("abort")
        world.now += LIFE + 10
        world.run("abort")
        assert world.accepted == {world.signing.key: world.signing.secret}


INVENTORY = Asked("", OLD, NEW, LIFE)


def test_pairs_of_the_inventory(tmp_path: Path) -> None:
    world = deployed(tmp_path, INVENTORY)
    world.run()
    assert world.signing == NEW
    world.now += LIFE
    world.run()
    assert world.accepted == {NEW.key: NEW.secret}
    world.site()  # the inventory still has the old pair
    assert world.signing == NEW
    assert "set matrixrtc_livekit_key" in chosen(world.ledger, OLD)[1]
    world.asked = replace(INVENTORY, given=NEW)
    world.site()
    assert (world.signing, chosen(world.ledger, NEW)[1]) == (NEW, "")
    world.asked = replace(INVENTORY, given=THIRD)
    world.livekit()
    world.service()
    assert world.signing == THIRD


def refusal(world: World, **changes: object) -> str:
    asked = replace(world.asked, **changes)
    with pytest.raises(RotationError) as caught:
        next_ledger("begin", world.ledger, asked, world.secret_path, world.now)
    assert not any(pair.secret in str(caught.value) for pair in (OLD, NEW, THIRD))
    return str(caught.value)


def test_refusals_name_the_variable(tmp_path: Path) -> None:
    world = World(tmp_path, INVENTORY)
    assert "Run site.yml first" in refusal(world)
    world = deployed(tmp_path, INVENTORY)
    assert "matrixrtc_livekit_next_secret is not set" in refusal(world, coming=Pair(NEW.key))
    assert "matrixrtc_livekit_next_key is not set" in refusal(world, coming=Pair("", NEW.secret))
    assert "matrixrtc_livekit_next_key" in refusal(world, coming=OLD)
    assert "matrixrtc_livekit_secret is not the secret in use" in refusal(world, given=THIRD)
    assert "matrixrtc_rotation is resume" in refusal(world, request="resume")
    world.run()
    assert "matrixrtc_rotation is start" in refusal(world, request="start")
    assert "neither of the pairs" in refusal(world, given=THIRD)
    with pytest.raises(RotationError, match="neither"):
        chosen(world.ledger, THIRD)


def test_the_ledger_is_roots_alone_and_shows_nothing(world: World) -> None:
    world.run()
    assert stat.S_IMODE(os.stat(world.ledger_path).st_mode) == 0o600
    assert world.ledger
    secrets = [world.ledger.current.secret, world.ledger.other.secret if world.ledger.other else ""]
    assert all(secrets)
    assert not any(secret in repr(world.ledger) for secret in secrets)
    world.now += LIFE
    world.run()
    assert json.loads(Path(world.ledger_path).read_text())["current"]["secret"] == ""


def test_a_clock_that_was_set_back_waits_no_longer_than_a_tokens_life() -> None:
    ledger = Ledger(RETIRE, NEW, OLD, since=5000)
    assert ledger.remaining(LIFE, 4000) == LIFE
    assert ledger.remaining(LIFE, 5050) == LIFE / 2
    assert ledger.remaining(LIFE, 9000) == 0
    assert replace(ledger, since=0).remaining(LIFE, 9000) == LIFE


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"stage": "on fire"}'])
def test_a_ledger_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rotation.json"
    path.write_text(text)
    with pytest.raises(RotationError, match="is not what a rotation"):
        read(str(path))


def test_a_settled_ledger_leaves_its_secret_to_the_host(world: World) -> None:
    store(world.ledger_path, world.secret_path, Ledger(SETTLED, Pair(NEW.key)), Ledger(REPLACE, NEW))
    assert Path(world.secret_path).read_text().strip() == NEW.secret
    assert stat.S_IMODE(os.stat(world.secret_path).st_mode) == 0o600


def test_what_is_going_to_be_restarted_is_told_before() -> None:
    preparing = begin(OLD, NEW)
    signing = sign(preparing)
    stamped = stamp(signing, 1)
    both = ("livekit", "lk-jwt-service")
    assert restarts(None, preparing, over=False) == both
    assert restarts(preparing, preparing, over=False) == both
    assert restarts(signing, signing, over=False) == ("lk-jwt-service",)
    assert restarts(stamped, stamped, over=False) == ()
    assert restarts(stamped, stamped, over=True) == ("livekit",)
    assert restarts(preparing, abort(preparing), over=False) == ("livekit",)
    assert restarts(None, leaked(OLD, NEW, None), over=False) == both
    assert restarts(settle(stamped), settle(stamped), over=False) == restarts(None, None, over=False) == ()
