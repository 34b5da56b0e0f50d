"""The environment: required, exclusive, unknown and gone variables (element-call.md 1.3)."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.token_service.config import GONE, KNOWN, SYSTEM_CA_FILE, ConfigError, parse

GOOD = {
    "LIVEKIT_URL": "wss://rtc.lab.test/livekit/sfu",
    "LIVEKIT_KEY": "matrixrtc",
    "LIVEKIT_SECRET": "secret",
    "LIVEKIT_FULL_ACCESS_HOMESERVERS": "lab.test",
}
AS = {
    "LIVEKIT_AS_TOKEN": "a",
    "LIVEKIT_HS_TOKEN": "h",
    "LIVEKIT_HS_SERVER_NAME": "lab.test",
}


@pytest.fixture(autouse=True)
def system_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not depend on the distribution of the person who runs this."""
    monkeypatch.setattr("lab.token_service.config.SYSTEM_CA_FILE", __file__)


def problems(**changes: str) -> list[str]:
    """What is refused when these variables are added or, if empty, as good as unset."""
    try:
        parse({**GOOD, **changes})
    except ConfigError as error:
        return error.problems
    return []


def test_defaults() -> None:
    config = parse(GOOD)
    assert (config.bind, config.sanity_check_interval, config.log_level) == (("", 8080), 0, "INFO")
    assert (config.skip_tls_verification, config.can_update_own_metadata) == (False, False)
    assert (dict(config.cs_api_overrides), config.warnings) == ({}, ())
    assert "secret" not in repr(config)


def test_trust_is_the_system_store_or_ssl_cert_file(ca_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert SYSTEM_CA_FILE == "/etc/ssl/certs/ca-certificates.crt"
    for variables in ({}, {"SSL_CERT_FILE": ""}):
        assert parse({**GOOD, **variables}).ca_file == __file__
    given = str(ca_folder / "ca.crt")
    assert parse({**GOOD, "SSL_CERT_FILE": given}).ca_file == given
    monkeypatch.setattr("lab.token_service.config.SYSTEM_CA_FILE", "/does/not/exist")
    (problem,) = problems()
    assert problem.startswith("SSL_CERT_FILE is not set")


@pytest.mark.parametrize("name", [name for name in GOOD if name.startswith("LIVEKIT_")])
def test_required(name: str) -> None:
    for environ in ({k: v for k, v in GOOD.items() if k != name}, {**GOOD, name: ""}):
        with pytest.raises(ConfigError) as refused:
            parse(environ)
        assert [problem.split()[0] for problem in refused.value.problems] == [name]


@pytest.mark.parametrize("name", [*GONE, "LIVEKIT_KEYS", "LIVEKIT_CONFIG", "LIVEKIT_JWT_HOST"])
def test_unknown_and_gone_names(name: str) -> None:
    (problem,) = problems(**{name: "x"})
    assert problem.startswith(f"{name} ")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("LIVEKIT_SECRET_FILE", "use LIVEKIT_SECRET_FROM_FILE"),
        ("LIVEKIT_LOCAL_HOMESERVERS", "use LIVEKIT_FULL_ACCESS_HOMESERVERS"),
        ("LK_JWT_PORT", "LIVEKIT_JWT_BIND in 0.4.0"),
        ("HS_ALLOWLIST", "use LIVEKIT_FULL_ACCESS_HOMESERVERS"),
    ],
)
def test_the_fate_of_old_names_is_told(name: str, told: str) -> None:
    assert told in problems(**{name: "x"})[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LIVEKIT_URL", "rtc.lab.test"),
        ("LIVEKIT_URL", "https://rtc.lab.test"),
        ("LIVEKIT_URL", "wss://"),
        ("LIVEKIT_URL", "wss://rtc.lab.test:none"),
        ("LIVEKIT_URL", "wss://rtc.lab.test/a b"),
        ("LIVEKIT_JWT_BIND", "8080"),
        ("LIVEKIT_JWT_BIND", "127.0.0.1"),
        ("LIVEKIT_JWT_BIND", "127.0.0.1:99999"),
        ("LIVEKIT_JWT_BIND", "::1:8080"),
        ("LIVEKIT_JWT_PORT", "http"),
        ("LIVEKIT_SANITY_CHECK_INTERVAL_SECONDS", "-1"),
        ("LIVEKIT_SANITY_CHECK_INTERVAL_SECONDS", "1.5"),
        ("LIVEKIT_SANITY_CHECK_INTERVAL_SECONDS", "60s"),
        ("LIVEKIT_CS_API_URL_OVERRIDES", "lab.test=matrix.lab.test"),
        ("LIVEKIT_CS_API_URL_OVERRIDES", "lab.test=https://matrix.lab.test,"),
        ("LIVEKIT_CS_API_URL_OVERRIDES", "https://matrix.lab.test"),
        ("LIVEKIT_KEY_FROM_FILE", "/does/not/exist"),
        ("LIVEKIT_SECRET_FROM_FILE", "/does/not/exist"),
        ("LIVEKIT_KEY_FILE", "/does/not/exist"),
        ("LIVEKIT_REDIS_URL", "redis://127.0.0.1"),
        ("LIVEKIT_REDIS_PASSWORD", "x"),
        ("SSL_CERT_FILE", "/does/not/exist"),
        ("SSL_CERT_FILE", __file__),
    ],
)
def test_refused_values(name: str, value: str) -> None:
    (problem,) = problems(**{name: value})
    assert problem.startswith(f"{name} ")


def test_bind_and_port_exclude_each_other() -> None:
    (problem,) = problems(LIVEKIT_JWT_BIND=":8080", LIVEKIT_JWT_PORT="8080")
    assert "LIVEKIT_JWT_PORT" in problem
    assert "LIVEKIT_JWT_BIND" in problem


def test_all_problems_are_reported_together() -> None:
    assert len(problems(LIVEKIT_URL="", LIVEKIT_JWT_BIND="x", LIVEKIT_SECRET_FILE="/f")) == 3


@pytest.mark.parametrize(
    "names",
    [
        {"LIVEKIT_AS_TOKEN"},
        {"LIVEKIT_HS_SERVER_NAME"},
        {"LIVEKIT_AS_TOKEN", "LIVEKIT_HS_SERVER_NAME"},
        {"LIVEKIT_AS_TOKEN", "LIVEKIT_HS_TOKEN"},
    ],
)
def test_half_an_application_service(names: set[str]) -> None:
    (problem,) = problems(**{name: AS[name] for name in names})
    assert "is half an application-service configuration" in problem


@pytest.mark.parametrize(
    ("value", "bind"),
    [
        (":80", ("", 80)),
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("[::1]:81", ("::1", 81)),
        ("localhost:82", ("localhost", 82)),
    ],
)
def test_bind(value: str, bind: tuple[str, int]) -> None:
    assert parse({**GOOD, "LIVEKIT_JWT_BIND": value}).bind == bind


def test_the_deprecated_port_still_works() -> None:
    config = parse({**GOOD, "LIVEKIT_JWT_PORT": "8081"})
    assert config.bind == ("", 8081)
    assert config.warnings


def test_files_are_trimmed_but_not_of_tabs(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(" name \r\n")
    (tmp_path / "secret").write_text("\tse:cret \n")
    config = parse(
        {
            **GOOD,
            "LIVEKIT_KEY_FROM_FILE": str(tmp_path / "key"),
            "LIVEKIT_SECRET_FROM_FILE": str(tmp_path / "secret"),
        }
    )
    assert (config.key, config.secret) == ("name", "\tse:cret")
    assert len(config.warnings) == 2  # the files win over the inline values of GOOD


def test_the_key_file_wins(tmp_path: Path) -> None:
    (tmp_path / "both").write_text("file-key: file-secret\n")
    config = parse({**GOOD, "LIVEKIT_KEY_FILE": str(tmp_path / "both")})
    assert (config.key, config.secret) == ("file-key", "file-secret")


@pytest.mark.parametrize("text", ["", "key", "key: sec:ret", "a: b\nc: d\n", ": secret", "key: \n", "\xff"])
def test_refused_key_files(tmp_path: Path, text: str) -> None:
    (tmp_path / "both").write_bytes(text.encode("latin-1"))
    (problem,) = problems(LIVEKIT_KEY_FILE=str(tmp_path / "both"))
    assert problem.startswith("LIVEKIT_KEY_FILE ")


def test_an_empty_secret_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("\n")
    (problem,) = problems(LIVEKIT_SECRET_FROM_FILE=str(tmp_path / "secret"))
    assert problem.startswith("LIVEKIT_SECRET ")


@pytest.mark.parametrize(
    ("value", "full", "restricted"),
    [
        ("a.test, b.test\tc.test:8448", ["a.test", "b.test", "c.test:8448"], ["A.test", "c.test", "x.test"]),
        ("*", ["a.test", "b.test:1"], []),
        (" * ", ["a.test"], []),
        ("*,", ["a.test"], []),
        ("* *", [], ["a.test", "*x"]),
        ("**", [], ["a.test"]),
        ("*,b.test", ["b.test"], ["a.test"]),
        (" ", [], ["a.test", ""]),
        (",", [], ["a.test", ""]),
    ],
)
def test_full_access(value: str, full: list[str], restricted: list[str]) -> None:
    config = parse({**GOOD, "LIVEKIT_FULL_ACCESS_HOMESERVERS": value})
    assert [config.has_full_access(name) for name in full] == [True] * len(full)
    assert [config.has_full_access(name) for name in restricted] == [False] * len(restricted)


def test_switches_need_their_exact_word() -> None:
    on = parse(
        {
            **GOOD,
            "LIVEKIT_CAN_UPDATE_OWN_METADATA": "true",
            "LIVEKIT_INSECURE_SKIP_VERIFY_TLS": "YES_I_KNOW_WHAT_I_AM_DOING",
        }
    )
    assert (on.can_update_own_metadata, on.skip_tls_verification) == (True, True)
    for word in ("True", "1", "yes"):
        off = parse(
            {**GOOD, "LIVEKIT_CAN_UPDATE_OWN_METADATA": word, "LIVEKIT_INSECURE_SKIP_VERIFY_TLS": word}
        )
        assert (off.can_update_own_metadata, off.skip_tls_verification) == (False, False)


def test_log_level() -> None:
    assert parse({**GOOD, "LIVEKIT_LOG_LEVEL": "warn"}).log_level == "WARNING"
    wrong = parse({**GOOD, "LIVEKIT_LOG_LEVEL": "loud"})
    assert (wrong.log_level, len(wrong.warnings)) == ("INFO", 1)


def test_overrides() -> None:
    value = "a.test=https://m.a.test/,b.test:81=http://127.0.0.1:8008"
    overrides = parse({**GOOD, "LIVEKIT_CS_API_URL_OVERRIDES": value}).cs_api_overrides
    assert overrides == {"a.test": "https://m.a.test", "b.test:81": "http://127.0.0.1:8008"}


def test_no_documented_variable_is_forgotten() -> None:
    assert len(KNOWN) == 20
    assert not KNOWN & set(GONE)
