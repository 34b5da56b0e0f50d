# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The environment, read once into a frozen value; every problem is found before anything starts.

As in the real service an empty variable counts as unset, unless said otherwise. Stricter than the real one:
see "Stricter on purpose" in README.md.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

SKIP_TLS_WORD = "YES_I_KNOW_WHAT_I_AM_DOING"
DEFAULT_BIND = ":8080"
SYSTEM_CA_FILE = "/etc/ssl/certs/ca-certificates.crt"
LOG_LEVELS = {"debug": "DEBUG", "info": "INFO", "warn": "WARNING", "warning": "WARNING", "error": "ERROR"}

APPLICATION_SERVICE = (
    "LIVEKIT_AS_TOKEN",
    "LIVEKIT_HS_TOKEN",
    "LIVEKIT_AS_REGISTRATION_FILE",
    "LIVEKIT_HS_SERVER_NAME",
)
REGISTRATION = "LIVEKIT_AS_REGISTRATION_FILE"
REDIS = ("LIVEKIT_REDIS_URL", "LIVEKIT_REDIS_PASSWORD")
KNOWN = frozenset(
    {
        "LIVEKIT_URL",
        "LIVEKIT_KEY",
        "LIVEKIT_KEY_FROM_FILE",
        "LIVEKIT_SECRET",
        "LIVEKIT_SECRET_FROM_FILE",
        "LIVEKIT_KEY_FILE",
        "LIVEKIT_JWT_BIND",
        "LIVEKIT_JWT_PORT",
        "LIVEKIT_FULL_ACCESS_HOMESERVERS",
        "LIVEKIT_INSECURE_SKIP_VERIFY_TLS",
        "LIVEKIT_SANITY_CHECK_INTERVAL_SECONDS",
        "LIVEKIT_CAN_UPDATE_OWN_METADATA",
        "LIVEKIT_LOG_LEVEL",
        "LIVEKIT_CS_API_URL_OVERRIDES",
        *REDIS,
        *APPLICATION_SERVICE,
    }
)
GONE = {
    "HS_ALLOWLIST": "was dropped after 2024: use LIVEKIT_FULL_ACCESS_HOMESERVERS",
    "LK_JWT_PORT": "became LIVEKIT_JWT_PORT in February 2025 and LIVEKIT_JWT_BIND in 0.4.0",
    "LIVEKIT_BIND": "never existed: use LIVEKIT_JWT_BIND",
    "LIVEKIT_LOCAL_HOMESERVERS": "was only a draft name: use LIVEKIT_FULL_ACCESS_HOMESERVERS",
    "LIVEKIT_MEMBERSHIP_CHECK_INTERVAL_SECONDS": "exists only in an unreleased proposal",
    "LIVEKIT_SECRET_FILE": "never existed: use LIVEKIT_SECRET_FROM_FILE",
}
"""Names found in old guides, which the real service silently ignores, and what became of them."""


class ConfigError(Exception):
    """Carries every problem found, each a sentence that names its variable."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Config:
    """What the environment asks for; times in seconds. The two without a variable are fixed upstream."""

    livekit_url: str
    key: str
    secret: str = field(repr=False)
    full_access: frozenset[str]
    bind: tuple[str, int] = ("", 8080)
    bind_variable: str = "LIVEKIT_JWT_BIND"
    skip_tls_verification: bool = False
    sanity_check_interval: int = 0
    can_update_own_metadata: bool = False
    log_level: str = "INFO"
    cs_api_overrides: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    ca_file: str = SYSTEM_CA_FILE
    warnings: tuple[str, ...] = ()
    as_token: str = field(default="", repr=False)
    hs_token: str = field(default="", repr=False)
    hs_server_name: str = ""
    openid_budget: float = 30.0
    homeserver_timeout: float = 30.0

    @property
    def is_application_service(self) -> bool:
        """Whether a homeserver asks as well; parse() sees to it that it is all three values or none."""
        return bool(self.as_token)

    @property
    def as_authorization(self) -> dict[str, str]:
        """The header with which this service asks its own homeserver."""
        return {"Authorization": f"Bearer {self.as_token}"}

    def has_full_access(self, server_name: str) -> bool:
        """Compare exactly, case and port included; `*` is a wildcard only as the sole entry."""
        return self.full_access == {"*"} or server_name in self.full_access


class _Reader:
    """Collects the problems and warnings of one environment."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.problems: list[str] = []
        self.warnings: list[str] = []

    def get(self, name: str) -> str:
        return self.environ.get(name, "")

    def refuse(self, name: str, reason: str) -> None:
        self.problems.append(f"{name} {reason}")

    def file(self, variable: str) -> str:
        """The file a variable names, trimmed of spaces, CR and LF but not of tabs, as measured."""
        path = self.get(variable)
        try:
            return Path(path).read_text(encoding="utf-8").strip(" \r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            self.refuse(variable, f"names {path}, which cannot be read: {reason}")
            return ""


def parse(environ: Mapping[str, str]) -> Config:
    """Read the environment; raises ConfigError with every problem at once."""
    reader = _Reader(environ)
    _refuse_names(reader)
    _refuse_unsupported(reader)
    as_token, hs_token, hs_server_name = _application_service(reader)
    key, secret = _credentials(reader)
    bind_variable, bind = _bind(reader)
    config = Config(
        livekit_url=_livekit_url(reader),
        key=key,
        secret=secret,
        full_access=_full_access(reader),
        bind=bind,
        bind_variable=bind_variable,
        skip_tls_verification=_skip_tls(reader),
        sanity_check_interval=_sanity_check_interval(reader),
        can_update_own_metadata=reader.get("LIVEKIT_CAN_UPDATE_OWN_METADATA") == "true",
        log_level=_log_level(reader),
        cs_api_overrides=_overrides(reader),
        ca_file=_ca_file(reader),
        as_token=as_token,
        hs_token=hs_token,
        hs_server_name=hs_server_name,
        warnings=tuple(reader.warnings),
    )
    if reader.problems:
        raise ConfigError(reader.problems)
    return config


def _refuse_names(reader: _Reader) -> None:
    for name in sorted(reader.environ):
        if name in GONE:
            reader.refuse(name, GONE[name])
        elif name.startswith("LIVEKIT_") and name not in KNOWN:
            reader.refuse(name, "is not a variable of lk-jwt-service (the real service would ignore it)")


def _refuse_unsupported(reader: _Reader) -> None:
    """Redis is not ours."""
    for name in REDIS:
        if reader.get(name):
            reader.refuse(name, "asks for Redis: not supported by the stand-in")


def _application_service(reader: _Reader) -> tuple[str, str, str]:
    """Both tokens and the homeserver's name; half of it is fatal from 0.7 on. The file wins, as upstream."""
    given = [name for name in APPLICATION_SERVICE if reader.get(name)]
    known_problems = len(reader.problems)
    if reader.get(REGISTRATION):
        as_token, hs_token = _registration(reader)
    else:
        as_token, hs_token = (reader.get(name).strip() for name in APPLICATION_SERVICE[:2])
    server_name = reader.get("LIVEKIT_HS_SERVER_NAME")
    if len(reader.problems) > known_problems or (as_token and hs_token and server_name):
        return as_token, hs_token, server_name
    if given:
        reader.refuse(
            ", ".join(given),
            "is half an application-service configuration: both tokens (or LIVEKIT_AS_REGISTRATION_FILE) "
            "and LIVEKIT_HS_SERVER_NAME must be set, or none of them",
        )
    return "", "", ""


def _registration(reader: _Reader) -> tuple[str, str]:
    """The tokens of a registration: one line each at the left margin, which is less than YAML allows."""
    text = reader.file(REGISTRATION)
    if not text:
        return "", ""
    found = []
    for name in ("as_token", "hs_token"):
        lines = re.findall(rf"""^{name}:[ \t]+(["']?)([A-Za-z0-9._~+/=-]+)\1[ \t]*$""", text, re.MULTILINE)
        if len(lines) != 1:
            reader.refuse(REGISTRATION, f"names a file without one line '{name}: TOKEN'")
        found.append(lines[0][1] if lines else "")
    return found[0], found[1]


def _credentials(reader: _Reader) -> tuple[str, str]:
    """KEY_FILE wins over everything, a *_FROM_FILE over its inline variable, without a word upstream."""
    inline = [name for name in ("LIVEKIT_KEY", "LIVEKIT_SECRET") if reader.get(name)]
    from_file = [name for name in ("LIVEKIT_KEY_FROM_FILE", "LIVEKIT_SECRET_FROM_FILE") if reader.get(name)]
    if reader.get("LIVEKIT_KEY_FILE"):
        if inline or from_file:
            reader.warnings.append(f"LIVEKIT_KEY_FILE wins over {', '.join(inline + from_file)}")
        return _key_file(reader)
    reader.warnings.extend(f"{n} wins over {n[:-10]}" for n in from_file if n[:-10] in inline)
    return _credential(reader, "LIVEKIT_KEY"), _credential(reader, "LIVEKIT_SECRET")


def _credential(reader: _Reader, name: str) -> str:
    known_problems = len(reader.problems)
    value = reader.file(f"{name}_FROM_FILE") if reader.get(f"{name}_FROM_FILE") else reader.get(name)
    if not value and len(reader.problems) == known_problems:
        reader.refuse(name, f"(or {name}_FROM_FILE, or LIVEKIT_KEY_FILE) is required and must not be empty")
    return value


def _key_file(reader: _Reader) -> tuple[str, str]:
    known_problems = len(reader.problems)
    text = reader.file("LIVEKIT_KEY_FILE")
    if len(reader.problems) > known_problems:
        return "", ""
    if text.count(":") != 1:
        reader.refuse("LIVEKIT_KEY_FILE", "must name a file of one line `key: secret` with exactly one colon")
        return "", ""
    key, secret = (part.strip(" \r\n") for part in text.split(":"))
    if not key or not secret:
        reader.refuse("LIVEKIT_KEY_FILE", "holds an empty LIVEKIT_KEY or LIVEKIT_SECRET")
    return key, secret


def _livekit_url(reader: _Reader) -> str:
    url = reader.get("LIVEKIT_URL")
    if not url:
        reader.refuse("LIVEKIT_URL", "is required")
    elif not _is_url(url, ("ws", "wss")):
        reader.refuse("LIVEKIT_URL", "must be a ws:// or wss:// URL")
    return url


def _is_url(url: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        return usable and not re.search(r"\s", url)
    except ValueError:  # a port that is no number, or broken brackets
        return False


def _bind(reader: _Reader) -> tuple[str, tuple[str, int]]:
    """`host:port`, `[v6]:port` or `:port`; gives the variable to name when listening fails, host and port."""
    bind, port = reader.get("LIVEKIT_JWT_BIND"), reader.get("LIVEKIT_JWT_PORT")
    if bind and port:
        reader.refuse("LIVEKIT_JWT_PORT", "is deprecated and must not be set together with LIVEKIT_JWT_BIND")
    variable = "LIVEKIT_JWT_PORT" if port and not bind else "LIVEKIT_JWT_BIND"
    value = bind or (f":{port}" if port else DEFAULT_BIND)
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]]*)):([0-9]{1,5})", value)
    if not match or not 0 < int(match[3]) < 65536:
        form = "a port" if variable == "LIVEKIT_JWT_PORT" else "host:port or :port"
        reader.refuse(variable, f"must be {form} (1-65535)")
        return variable, ("", 0)
    if variable == "LIVEKIT_JWT_PORT":
        reader.warnings.append("LIVEKIT_JWT_PORT is deprecated: use LIVEKIT_JWT_BIND")
    return variable, (match[1] or match[2] or "", int(match[3]))


def _full_access(reader: _Reader) -> frozenset[str]:
    """Only unset or "" is fatal: `" "` and `","` start a service in which everybody is restricted."""
    value = reader.get("LIVEKIT_FULL_ACCESS_HOMESERVERS")
    names = value.replace(",", " ").split()
    if not value:
        reader.refuse("LIVEKIT_FULL_ACCESS_HOMESERVERS", "is required: server names with full access, or *")
    elif not names:
        reader.warnings.append("LIVEKIT_FULL_ACCESS_HOMESERVERS names nobody: every user is restricted")
    elif "*" in names and len(names) > 1:
        reader.warnings.append("LIVEKIT_FULL_ACCESS_HOMESERVERS: * is a wildcard only as the sole entry")
        names = [name for name in names if name != "*"]  # "* *" must not become the wildcard by being a set
    return frozenset(names)


def _skip_tls(reader: _Reader) -> bool:
    word = reader.get("LIVEKIT_INSECURE_SKIP_VERIFY_TLS")
    if word == SKIP_TLS_WORD:
        reader.warnings.append("LIVEKIT_INSECURE_SKIP_VERIFY_TLS: certificates are not verified")
    elif word:
        reader.warnings.append(f"LIVEKIT_INSECURE_SKIP_VERIFY_TLS has no effect unless it is {SKIP_TLS_WORD}")
    return word == SKIP_TLS_WORD


def _sanity_check_interval(reader: _Reader) -> int:
    value = reader.get("LIVEKIT_SANITY_CHECK_INTERVAL_SECONDS") or "0"
    if not re.fullmatch(r"[0-9]+", value):
        reader.refuse("LIVEKIT_SANITY_CHECK_INTERVAL_SECONDS", "must be a whole number of seconds, 0 or more")
        return 0
    return int(value)


def _log_level(reader: _Reader) -> str:
    value = reader.get("LIVEKIT_LOG_LEVEL") or "info"
    if value not in LOG_LEVELS:
        reader.warnings.append(f"LIVEKIT_LOG_LEVEL must be one of {', '.join(LOG_LEVELS)}: info is used")
    return LOG_LEVELS.get(value, "INFO")


def _overrides(reader: _Reader) -> Mapping[str, str]:
    """`name=URL,name=URL`; an empty entry (a trailing comma) is fatal, as measured."""
    value = reader.get("LIVEKIT_CS_API_URL_OVERRIDES")
    overrides: dict[str, str] = {}
    for entry in value.split(",") if value else []:
        name, equals, url = entry.strip().partition("=")
        if not name or not equals:
            reason = f"has an entry that is not server_name=URL: {entry!r}"
            reader.refuse("LIVEKIT_CS_API_URL_OVERRIDES", reason)
        elif not _is_url(url, ("http", "https")):
            reason = f"needs a URL with scheme for {name}: without one the real service loses every leave"
            reader.refuse("LIVEKIT_CS_API_URL_OVERRIDES", reason)
        else:
            overrides[name] = url.rstrip("/")
    return MappingProxyType(overrides)


def _ca_file(reader: _Reader) -> str:
    """SSL_CERT_FILE replaces the system store, as OpenSSL, Go and rustls-native-certs do."""
    path = reader.get("SSL_CERT_FILE")
    if not path and not Path(SYSTEM_CA_FILE).is_file():
        reader.refuse("SSL_CERT_FILE", f"is not set, and the system's {SYSTEM_CA_FILE} is missing")
    try:
        if path:
            ssl.create_default_context(cafile=path)
    except OSError as error:  # an SSLError, which a file without certificates gives, is one too
        reader.refuse("SSL_CERT_FILE", f"names {path}, which holds no usable certificates: {error.strerror}")
    return path or SYSTEM_CA_FILE
