# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""What is in a certificate and its key, asked of the openssl program: Python's library cannot read them."""

from __future__ import annotations

import calendar
import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

OPENSSL_TIMEOUT = 10.0  # seconds; it takes a few milliseconds
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class CertificateError(Exception):
    """A file cannot be used; the text is a clause such as "'/x' does not exist on this host"."""


class NoOpensslError(CertificateError):
    """The host has no openssl program, so nothing can be said of its certificates."""


@dataclass(frozen=True)
class Certificate:
    """The first certificate of a file. Times are seconds since the epoch, names are in lower case."""

    names: tuple[str, ...]
    not_before: float
    not_after: float
    public_key: str


def check_readable(path: str, marker: str) -> None:
    """Refuse a file that is absent, unreadable or not PEM text with the marker, such as 'CERTIFICATE'."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise CertificateError(f"'{path}' is not a file")
    try:
        with open(path, encoding="utf-8") as source:
            content = source.read()
    except FileNotFoundError as error:
        raise CertificateError(f"'{path}' does not exist on this host") from error
    except UnicodeDecodeError as error:
        raise CertificateError(f"'{path}' is not PEM text") from error
    except OSError as error:
        raise CertificateError(f"'{path}' cannot be read ({error.strerror})") from error
    if not re.search(rf"^-----BEGIN [A-Z ]*{marker}-----", content, re.MULTILINE):
        raise CertificateError(f"'{path}' holds no PEM block of the kind {marker}")


def run_openssl(arguments: Sequence[str]) -> tuple[int, str, str]:
    """Run openssl without a terminal or input; returns exit status, output and errors."""
    program = shutil.which("openssl", path=os.environ.get("PATH", "") + ":/usr/bin:/usr/local/bin")
    if program is None:
        raise NoOpensslError("cannot be checked, because this host has no openssl program")
    try:
        done = subprocess.run(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=OPENSSL_TIMEOUT,
            check=False,
            env={"LC_ALL": "C", "PATH": ""},
        )
    except subprocess.TimeoutExpired as error:
        raise CertificateError(f"cannot be checked, because openssl took {OPENSSL_TIMEOUT:.0f} s") from error
    return done.returncode, done.stdout, done.stderr


def _reason(errors: str) -> str:
    """The line of openssl's errors that a person can read."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    told = [
        line for line in lines if line.startswith("error ") or "unable to load" in line or "Could not" in line
    ]
    return (told or lines or ["no reason given"])[0]


def _time(text: str) -> float:
    """A time as openssl prints it ('Nov  5 08:09:10 2026 GMT'), whatever the process's language."""
    month, day, clock, year, _zone = text.split()
    hour, minute, second = (int(part) for part in clock.split(":"))
    return float(calendar.timegm((int(year), MONTHS.index(month) + 1, int(day), hour, minute, second)))


def read_certificate(path: str) -> Certificate:
    """The first certificate of a PEM file: with a full chain, that is the host's own."""
    check_readable(path, "CERTIFICATE")
    status, output, errors = run_openssl(
        ["x509", "-in", path, "-noout", "-startdate", "-enddate", "-ext", "subjectAltName", "-pubkey"]
    )
    start = re.search(r"^notBefore=(.+)$", output, re.MULTILINE)
    end = re.search(r"^notAfter=(.+)$", output, re.MULTILINE)
    public_key = re.search(r"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", output, re.DOTALL)
    if not (start and end and public_key):
        raise CertificateError(
            f"'{path}' holds no readable certificate (openssl, status {status}: {_reason(errors)})"
        )
    names = re.findall(r"(?:DNS|IP Address):([^,\s]+)", output)
    return Certificate(
        tuple(name.lower() for name in names), _time(start.group(1)), _time(end.group(1)), public_key.group(0)
    )


def public_key_of(path: str) -> str:
    """The public half of a private key file, as PEM."""
    check_readable(path, "PRIVATE KEY")
    # An empty password makes an encrypted key fail at once; nginx could not read it unattended either.
    _status, output, errors = run_openssl(["pkey", "-in", path, "-pubout", "-passin", "pass:"])
    match = re.search(r"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", output, re.DOTALL)
    if not match:
        raise CertificateError(
            f"'{path}' holds no private key that can be read without a password (openssl: {_reason(errors)})"
        )
    return match.group(0)


def is_for(certificate: Certificate, host: str) -> bool:
    """The certificate is for the host name; a wildcard stands for exactly one label (RFC 6125, 6.4.3)."""
    _label, dot, parent = host.partition(".")
    return host in certificate.names or (bool(dot) and f"*.{parent}" in certificate.names)


def distrust(path: str, ca_file: str) -> str:
    """Why this host would not trust the chain in the file ('' if it does), with ca_file added when given."""
    arguments = ["verify", "-untrusted", path, *(["-CAfile", ca_file] if ca_file else []), path]
    status, output, errors = run_openssl(arguments)
    return "" if status == 0 else _reason(errors or output)


def days_left(certificate: Certificate, now: float | None = None) -> float:
    """Days until the certificate expires, negative when it has."""
    return (certificate.not_after - (time.time() if now is None else now)) / 86400
