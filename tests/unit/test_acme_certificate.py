"""A certificate of our own: when one is asked for, what is asked, what is told of failures, and removal."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from ansible_collections.matrixrtc.backend.plugins.module_utils.acme_certificate import (
    CHALLENGES,
    LINEAGE,
    AcmeError,
    Host,
    Remains,
    Wish,
    apply,
    environment,
    environment_text,
    remove,
)
from ansible_collections.matrixrtc.backend.plugins.module_utils.edge_host import Completed
from ansible_collections.matrixrtc.backend.plugins.module_utils.nginx_probe import Answer, Request
from inputs_support import DOMAIN, write_certificates

DIRECTORY = "https://ca.example.org/dir"
PROXY = "http://user:p%40ss-word@proxy.example.org:3128"
REFUSAL = """\
Saving debug log to /var/lib/matrixrtc-acme/logs/letsencrypt.log
Requesting a certificate for rtc.example.org

Certbot failed to authenticate some domains (authenticator: webroot). The Certificate Authority reported:
  Domain: rtc.example.org
  Type:   unauthorized
  Detail: 192.0.2.7: Invalid response from http://rtc.example.org/.well-known/acme-challenge/x: 404

Hint: The Certificate Authority failed to download the temporary challenge files.
"""
UNREACHABLE = """\
An unexpected error occurred:
requests.exceptions.ProxyError: no way to http://user:p%40ss-word@proxy.example.org:3128
Ask for help or search for solutions at https://community.letsencrypt.org.
"""


@dataclass
class FakeHost:
    """A host whose nginx shows the webroot and whose certbot puts a certificate of this kind in place."""

    folder: Path
    issued: str = "good"
    refusal: Completed | None = None
    shown_after: int = 0
    wrong_answer: Answer | None = None
    nginx: str = ""
    failing_units: tuple[str, ...] = ()
    asked: list[Request] = field(default_factory=list)
    calls: list[list[str]] = field(default_factory=list)
    environments: list[Mapping[str, str]] = field(default_factory=list)
    commands: list[list[str]] = field(default_factory=list)
    clock: float = 0.0

    @property
    def wish(self) -> Wish:
        config = self.folder / "acme"
        return Wish(DOMAIN, DIRECTORY, str(self.folder / "webroot"), str(config), str(config / "cli.ini"))

    def host(self) -> Host:
        return Host(
            run=self.run,
            run_certbot=self.certbot,
            ask=self.ask,
            sleep=self.sleep,
            clock=lambda: self.clock,
            outgoing_address=lambda: "192.0.2.7",
        )

    def sleep(self, seconds: float) -> None:
        self.clock += seconds

    def ask(self, request: Request) -> Answer:
        self.asked.append(request)
        if self.wrong_answer is not None or len(self.asked) <= self.shown_after:
            return self.wrong_answer or Answer(404)
        return Answer(200, body=(self.folder / "webroot" / request.path.lstrip("/")).read_text())

    def certbot(self, argv: Sequence[str], environment: Mapping[str, str]) -> Completed:
        self.calls.append(list(argv))
        self.environments.append(environment)
        if self.refusal is not None:
            return self.refusal
        self.place(self.issued)
        return Completed(0)

    def place(self, kind: str, server: str = DIRECTORY, webroot: str = "") -> None:
        """A certificate as certbot leaves it."""
        live = self.folder / "acme" / "live" / LINEAGE
        live.mkdir(parents=True, exist_ok=True)
        (live / "fullchain.pem").write_bytes((self.folder / f"{kind}.crt").read_bytes())
        (self.folder / "acme" / "renewal").mkdir(exist_ok=True)
        settings = (
            f"[renewalparams]\nserver = {server}\nwebroot_path = {webroot or self.folder / 'webroot'},\n"
        )
        (self.folder / "acme" / "renewal" / f"{LINEAGE}.conf").write_text(settings)

    def run(self, argv: Sequence[str]) -> Completed:
        self.commands.append(list(argv))
        if argv[0] == "nginx":
            return Completed(0, self.nginx)
        return Completed(int(argv[-1] in self.failing_units), errors="no such unit")


@pytest.fixture
def fake(tmp_path: Path) -> FakeHost:
    write_certificates(tmp_path)
    (tmp_path / "acme").mkdir()
    return FakeHost(tmp_path)


def test_the_first_certificate(fake: FakeHost) -> None:
    outcome = apply(replace(fake.wish, hook="/hook"), fake.host())
    assert (outcome.changed, outcome.reason) == (True, "there is none yet")
    assert outcome.days_left == pytest.approx(365, abs=1)
    (call,) = fake.calls
    assert call[:2] == ["/usr/bin/certbot", "certonly"]
    assert call[call.index("--domain") + 1] == DOMAIN
    assert call[call.index("--deploy-hook") + 1] == "/hook"
    assert "--force-renewal" not in call


def test_the_second_run_asks_nobody(fake: FakeHost) -> None:
    fake.place("good")
    outcome = apply(fake.wish, fake.host())
    assert (outcome.changed, outcome.reason) == (False, "")
    assert not fake.calls
    assert not fake.asked


def test_check_mode_writes_nothing_and_asks_nobody(fake: FakeHost) -> None:
    before = sorted(fake.folder.rglob("*"))
    assert apply(replace(fake.wish, check_mode=True, http_proxy=PROXY), fake.host()).changed
    assert (fake.calls, fake.asked, sorted(fake.folder.rglob("*"))) == ([], [], before)
    fake.place("good")
    assert not apply(replace(fake.wish, check_mode=True), fake.host()).changed


@pytest.mark.parametrize(
    ("kind", "server", "webroot", "reason"),
    [
        ("other", DIRECTORY, "", "is for matrix.example.org, www.example.org"),
        ("expired", DIRECTORY, "", "expired 1.0 days ago"),
        ("broken", DIRECTORY, "", "cannot be read"),
        ("good", "https://old.example.org/dir", "", "comes from https://old.example.org/dir"),
        ("good", DIRECTORY, "/var/www/old", "is renewed through /var/www/old"),
    ],
)
def test_a_certificate_that_will_not_do_is_replaced(
    fake: FakeHost, kind: str, server: str, webroot: str, reason: str
) -> None:
    fake.place(kind, server, webroot)
    assert reason in apply(fake.wish, fake.host()).reason
    assert "--force-renewal" in fake.calls[0]


def test_renewals_that_fail_are_made_up_for(fake: FakeHost) -> None:
    """A certificate of 90 days with 10 left is the renewal's affair; with 8 left the renewal has failed."""
    fake.place("soon")
    assert not apply(fake.wish, fake.host()).changed
    later = replace(fake.host(), now=lambda: time.time() + 2 * 86400)
    assert "has only 8.0 days left" in apply(replace(fake.wish, check_mode=True), later).reason


def test_a_success_without_a_certificate_is_none(fake: FakeHost) -> None:
    fake.issued = "other"
    with pytest.raises(AcmeError, match="certbot reports success, but the present one is for matrix"):
        apply(fake.wish, fake.host())


# The challenge


def test_the_challenge_is_tried_before_the_authority_is_asked(fake: FakeHost) -> None:
    fake.shown_after = 3  # nginx has just been reloaded
    apply(fake.wish, fake.host())
    assert {request.name for request in fake.asked} == {DOMAIN}
    assert {request.listen.port for request in fake.asked} == {80}
    assert list((fake.folder / "webroot").rglob("*")) == [], "nothing is left in the folder"


@pytest.mark.parametrize("answer", [Answer(301), Answer(200, body="a page"), Answer(0, error="refused")])
def test_nobody_is_asked_for_a_challenge_that_is_not_shown(fake: FakeHost, answer: Answer) -> None:
    fake.wrong_answer = answer
    with pytest.raises(AcmeError, match=r"so it was not asked.*matrixrtc_acme_webroot"):
        apply(fake.wish, fake.host())
    assert not fake.calls
    assert list((fake.folder / "webroot").rglob("*")) == []


def test_folders_of_the_operator_stay(fake: FakeHost) -> None:
    there = fake.folder / "webroot" / CHALLENGES
    there.mkdir(parents=True)
    (there / "somebody").write_text("else")
    apply(fake.wish, fake.host())
    assert [path.name for path in there.iterdir()] == ["somebody"]


def test_a_site_on_single_addresses_is_asked_there(fake: FakeHost) -> None:
    apply(replace(fake.wish, addresses=("192.0.2.9", "2001:db8::9")), fake.host())
    assert [request.listen.target for request in fake.asked] == ["192.0.2.9"]


# Failures, and the password of the proxy


def test_the_authoritys_own_words_are_told(fake: FakeHost) -> None:
    fake.refusal = Completed(1, REFUSAL, "Some challenges have failed.\nAsk for help at ...")
    with pytest.raises(AcmeError) as caught:
        apply(fake.wish, fake.host())
    message = str(caught.value)
    assert message.startswith(f"{DIRECTORY} gave no certificate for {DOMAIN}: 192.0.2.7: Invalid response")
    assert "Hint" not in message


def test_the_proxys_password_stays_in_the_environment(fake: FakeHost) -> None:
    fake.refusal = Completed(1, errors=UNREACHABLE)
    with pytest.raises(AcmeError) as caught:
        apply(replace(fake.wish, http_proxy=PROXY, ca_file="/etc/ca.pem"), fake.host())
    assert "through the proxy proxy.example.org:3128" in str(caught.value)
    assert "ss-word" not in str(caught.value)
    assert "ss-word" not in str(fake.calls)
    assert fake.environments[0]["https_proxy"] == PROXY
    assert fake.environments[0]["REQUESTS_CA_BUNDLE"] == "/etc/ca.pem"


def test_renewals_have_the_same_environment(fake: FakeHost) -> None:
    wish = replace(fake.wish, http_proxy=PROXY)
    fake.place("good")
    assert apply(wish, fake.host()).changed
    file = Path(wish.environment_file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert f'https_proxy="{PROXY}"\n' in file.read_text()
    assert not apply(wish, fake.host()).changed
    assert apply(fake.wish, fake.host()).changed, "without a proxy there is no file"
    assert not file.exists()


def test_the_host_itself_is_never_asked_through_the_proxy(
    fake: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "intern.example.org, 127.0.0.1")
    values = environment(replace(fake.wish, http_proxy=PROXY))
    assert values["no_proxy"] == f"localhost,127.0.0.1,::1,{DOMAIN},intern.example.org"
    assert values["NO_PROXY"] == values["no_proxy"]
    assert environment_text({}) == ""


# Removal


def remains(fake: FakeHost, **changes: bool) -> Remains:
    unit = fake.folder / "our.timer"
    unit.write_text("")
    paths = (str(unit), str(fake.folder / "never.path"))
    return Remains(("our.timer", "never.path"), paths, (str(fake.folder / "acme"),), **changes)


def test_removal_takes_what_is_there(fake: FakeHost) -> None:
    fake.place("good")
    what = remains(fake)
    outcome = remove(replace(what, check_mode=True), fake.host())
    assert outcome.changed
    assert os.path.exists(what.files[0])
    assert remove(what, fake.host()).removed == outcome.removed == [what.files[0], what.folders[0]]
    assert ["systemctl", "disable", "--now", "our.timer"] in fake.commands
    assert ["systemctl", "disable", "--now", "never.path"] not in fake.commands
    assert not any(map(os.path.exists, outcome.removed))
    assert not remove(what, fake.host()).changed


def test_a_certificate_that_nginx_serves_stays(fake: FakeHost) -> None:
    fake.place("good")
    what = remains(fake)
    fake.nginx = f"server {{\n    ssl_certificate {fake.wish.certificate};\n}}\n"
    with pytest.raises(AcmeError, match=r"nginx still serves a certificate from .*Nothing was changed"):
        remove(what, fake.host())
    assert os.path.exists(fake.wish.certificate)


def test_a_unit_that_does_not_stop_keeps_everything(fake: FakeHost) -> None:
    fake.place("good")
    fake.failing_units = ("our.timer",)
    with pytest.raises(AcmeError, match=r"our.timer could not be stopped: no such unit. Nothing was removed"):
        remove(remains(fake), fake.host())
    assert os.path.exists(fake.wish.certificate)
