# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""A certificate of our own through ACME: certbot in a folder of its own, and the challenge through nginx.

certbot runs with its own configuration, work and log folders, so an operator's certbot on the same host keeps
its accounts, certificates, hooks and timer to itself, and removal is the removal of two folders.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .certificates import Certificate, CertificateError, days_left, is_for, read_certificate
from .edge_host import Completed, Run, run
from .files import atomic_write, read_text, remove_file
from .http_proxy import proxy_environment, way, without_password
from .managed_files import provide_folder
from .nginx_config import Listen
from .nginx_probe import Ask, Request, ask, outgoing_address

LINEAGE = "matrixrtc"
HTTP = 80
CHALLENGES = ".well-known/acme-challenge"
ISSUE_SECONDS = 300.0  # certbot itself waits 90 s for each authorisation and as long for the order
LAST_PART = 10  # renewals begin at a third of the lifetime; with a tenth left they have failed
SERVED_SECONDS = 5.0  # until a file in the webroot is served; a reload of nginx takes effect within one
PAUSE = 0.2
# What certbot says besides the reason.
CHATTER = re.compile(
    r"^(Ask for help|See the logfile|Saving debug log|Some challenges have failed|Hint:|Certbot failed|"
    r"An unexpected error occurred:|Account registered|Requesting a certificate)"
)
MESSAGE_LINES = 3


class AcmeError(Exception):
    """There is no certificate to be had; the text says why and what became of the host."""


@dataclass(frozen=True)
class Wish:
    """What is wanted. `folder` is certbot's configuration folder, `settings` the cli.ini with its options.

    `addresses`: where nginx answers the challenge, if not on all addresses. `ca_file`: certificates that
    verify the directory itself. `http_proxy` may hold a password; it never leaves the environment.
    """

    domain: str
    directory: str
    webroot: str
    folder: str
    settings: str
    certbot: str = "/usr/bin/certbot"
    hook: str = ""
    addresses: tuple[str, ...] = ()
    ca_file: str = ""
    http_proxy: str = ""
    check_mode: bool = False

    @property
    def certificate(self) -> str:
        """The full chain that nginx serves."""
        return os.path.join(self.folder, "live", LINEAGE, "fullchain.pem")

    @property
    def environment_file(self) -> str:
        """What certbot's environment is at every renewal, as systemd reads it."""
        return os.path.join(self.folder, "environment")


def run_certbot(argv: Sequence[str], environment: Mapping[str, str]) -> Completed:
    """Run certbot, which waits for its authority."""
    return run(argv, ISSUE_SECONDS, environment)


@dataclass(frozen=True)
class Host:
    """What surrounds the logic; tests replace every part."""

    run: Run = run
    run_certbot: Callable[[Sequence[str], Mapping[str, str]], Completed] = run_certbot
    ask: Ask = ask
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    outgoing_address: Callable[[], str] = outgoing_address


@dataclass
class Outcome:
    """What was done and why; `days_left` of the certificate that is there now, None in check mode."""

    changed: bool = False
    reason: str = ""
    days_left: float | None = None
    removed: list[str] = field(default_factory=list)


# What is there, and what it lacks -------------------------------------------------------------------------


def environment(wish: Wish) -> dict[str, str]:
    """certbot's environment: the way to the authority, and whom to trust on it."""
    values = proxy_environment(wish.http_proxy, [wish.domain])
    if wish.ca_file:
        values["REQUESTS_CA_BUNDLE"] = wish.ca_file
    return values


def environment_text(values: Mapping[str, str]) -> str:
    """The environment in the syntax of systemd's EnvironmentFile; the values have no quotes of their own."""
    return "".join(f'{name}="{value}"\n' for name, value in values.items())


def saved_settings(folder: str) -> dict[str, str]:
    """What certbot noted for the renewal of our certificate; {} when it has none."""
    text = read_text(os.path.join(folder, "renewal", f"{LINEAGE}.conf")) or ""
    return dict(re.findall(r"^(\w+) = (.*?),?\s*$", text, re.MULTILINE))


def reason_to_issue(wish: Wish, now: float) -> str:
    """Why the certificate that is there will not do, as a clause; '' when it will."""
    if not os.path.exists(wish.certificate):
        return "there is none yet"
    try:
        there = read_certificate(wish.certificate)
    except CertificateError as error:
        return f"the present one cannot be read: {error}"
    if not is_for(there, wish.domain):
        return f"the present one is for {', '.join(there.names)}"
    return _reason_of_settings(wish) or _reason_of_age(there, now)


def _reason_of_settings(wish: Wish) -> str:
    saved = saved_settings(wish.folder)
    for key, wanted, what in (
        ("server", wish.directory, "comes from"),
        ("webroot_path", wish.webroot, "is renewed through"),
    ):
        if saved.get(key) != wanted:
            return f"the present one {what} {saved.get(key) or 'nowhere'}"
    return ""


def _reason_of_age(there: Certificate, now: float) -> str:
    lifetime = there.not_after - there.not_before
    if there.not_after - now > lifetime / LAST_PART:
        return ""
    days = days_left(there, now)
    return f"the present one {f'expired {-days:.1f}' if days < 0 else f'has only {days:.1f}'} days" + (
        " ago" if days < 0 else " left"
    )


# The challenge --------------------------------------------------------------------------------------------


def check_challenge(wish: Wish, host: Host) -> None:
    """See that nginx serves a file of the webroot, before an authority looks and counts the failure."""
    folder = os.path.join(wish.webroot, CHALLENGES)
    name, content = f"matrixrtc-{secrets.token_hex(8)}", secrets.token_hex(16)
    path = os.path.join(folder, name)
    made = [new for new in provide_folder(path, dry=False) if new.startswith(f"{wish.webroot}/")]
    try:
        atomic_write(path, content.encode("ascii"), 0o644)
        fault = _fault_of_challenge(wish, host, name, content)
    finally:
        remove_file(path)
        for new in reversed(made):
            os.rmdir(new)
    if fault:
        raise AcmeError(
            f"http://{wish.domain}/{CHALLENGES}/ does not serve what is in {folder}: {fault}. The "
            "authority would find nothing either, so it was not asked. If another site of nginx serves this "
            "name on port 80, set matrixrtc_acme_webroot to the root that it serves this path from."
        )


def _fault_of_challenge(wish: Wish, host: Host, name: str, content: str) -> str:
    """What the site says instead of the content, '' when it serves it; it may have to be loaded first."""
    targets = wish.addresses or tuple(filter(None, ["127.0.0.1", host.outgoing_address()]))
    deadline = host.clock() + SERVED_SECONDS
    while True:
        said = []
        for target in targets:
            bracketed = f"[{target}]" if ":" in target else target
            answer = host.ask(
                Request(Listen(bracketed, HTTP, frozenset()), wish.domain, f"/{CHALLENGES}/{name}")
            )
            if answer.status == 200 and answer.body == content:
                return ""
            said.append(f"{target} answers {'something else' if answer.status == 200 else answer}")
        if host.clock() > deadline:
            return "; ".join(said)
        host.sleep(PAUSE)


# certbot --------------------------------------------------------------------------------------------------


def arguments(wish: Wish) -> list[str]:
    """The call of certbot. Everything that is the same at a renewal is in the settings file."""
    again = ["--force-renewal", "--renew-with-new-domains"] if os.path.exists(wish.certificate) else []
    hook = ["--deploy-hook", wish.hook] if wish.hook else []
    return [
        *(wish.certbot, "certonly", "--config", wish.settings),
        *("--cert-name", LINEAGE, "--domain", wish.domain, *again, *hook),
    ]


def told(done: Completed, http_proxy: str) -> str:
    """Why certbot failed, in its authority's words; without the password of the proxy."""
    lines = [line.strip() for line in f"{done.output}\n{done.errors}".splitlines() if line.strip()]
    details = [line.partition(":")[2].strip() for line in lines if line.startswith("Detail:")]
    rest = [line for line in lines if not CHATTER.match(line) and not set(line) <= set("- ")]
    text = "; ".join(details or rest[-MESSAGE_LINES:]) or f"exit status {done.status}"
    return without_password(text, http_proxy)


def apply(wish: Wish, host: Host | None = None) -> Outcome:
    """Have the certificate. Raises AcmeError; nginx and what it serves are then as before."""
    host = host or Host()
    reason = reason_to_issue(wish, host.now())
    values = environment(wish)
    outcome = Outcome(bool(reason), reason)
    if wish.check_mode:
        there = read_text(wish.environment_file) or ""
        outcome.changed = outcome.changed or there != environment_text(values)
        return outcome
    outcome.changed |= _write_environment(wish, environment_text(values))
    if reason:
        check_challenge(wish, host)
        done = host.run_certbot(arguments(wish), values)
        if not done.ok:
            raise AcmeError(_failure(wish, told(done, wish.http_proxy)))
    left = reason_to_issue(wish, host.now())
    if left:
        raise AcmeError(_failure(wish, f"certbot reports success, but {left}"))
    outcome.days_left = days_left(read_certificate(wish.certificate), host.now())
    return outcome


def _write_environment(wish: Wish, text: str) -> bool:
    if not text:
        return remove_file(wish.environment_file)
    return atomic_write(wish.environment_file, text.encode("utf-8"), 0o600)


def _failure(wish: Wish, why: str) -> str:
    return (
        f"{wish.directory} gave no certificate for {wish.domain}{way(wish.http_proxy)}: {why.rstrip('.')}. "
        f"What nginx serves is as before; certbot's log is in the logs-dir that {wish.settings} names."
    )


# Removal --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Remains:
    """What may be left of us: `units` are stopped first; `folders` go with all that is in them."""

    units: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    check_mode: bool = False


def remove(remains: Remains, host: Host | None = None) -> Outcome:
    """Take away what is there. Raises AcmeError while nginx still serves a certificate that would go."""
    host = host or Host()
    _refuse_served(remains.folders, host.run)
    outcome = Outcome()
    there = [path for path in (*remains.files, *remains.folders) if os.path.lexists(path)]
    outcome.removed, outcome.changed = there, bool(there)
    if remains.check_mode or not there:
        return outcome
    _stop([unit for unit in remains.units if any(os.path.basename(path) == unit for path in there)], host.run)
    for path in there:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            remove_file(path)
    if remains.units:
        host.run(["systemctl", "daemon-reload"])
    return outcome


def _refuse_served(folders: Sequence[str], run_command: Run) -> None:
    if not any(map(os.path.isdir, folders)):
        return
    told_by_nginx = run_command(["nginx", "-T"]).output
    for folder in folders:
        if re.search(rf"^\s*ssl_certificate(_key)?\s+{re.escape(folder)}/", told_by_nginx, re.MULTILINE):
            raise AcmeError(
                f"nginx still serves a certificate from {folder}, and would not start without it. Take our "
                "site out first (uninstall.yml without --tags, or with --tags nginx_proxy), or have another "
                "certificate in its place (matrixrtc_tls_mode). Nothing was changed."
            )


def _stop(units: Sequence[str], run_command: Run) -> None:
    for unit in units:
        done = run_command(["systemctl", "disable", "--now", unit])
        if not done.ok:
            raise AcmeError(f"{unit} could not be stopped: {done.said}. Nothing was removed.")
