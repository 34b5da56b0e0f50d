"""Run by Synapse's own Python: loads configurations with the real synapse.config, one per line of JSON.

In: a list of command line arguments. Out: {"error": text} or {"values": {section: {attribute: value}}}.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys
from typing import Any

SECTIONS = ("experimental", "matrix_rtc", "ratelimiting", "server", "email", "registration", "key")


def plain(value: Any) -> Any:
    """A value as JSON can hold it; what is neither plain nor a limit nor a duration is only named."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "burst_count"):
        return {"per_second": value.per_second, "burst_count": value.burst_count}
    if hasattr(value, "as_millis"):
        return value.as_millis()
    return type(value).__name__


def load(config_class: Any, arguments: list[str]) -> dict[str, Any]:
    """What Synapse makes of a command line."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        config = config_class.load_config("", arguments)
    sections: dict[str, Any] = {name: vars(getattr(config, name)) for name in SECTIONS}
    return {
        name: {key: plain(value) for key, value in section.items() if key != "root"}
        for name, section in sections.items()
    }


def main() -> None:
    """Answer every line until there are no more."""
    config_class = importlib.import_module("synapse.config.homeserver").HomeServerConfig
    config_error = importlib.import_module("synapse.config._base").ConfigError
    refusals = (config_error, ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError)
    for line in sys.stdin:
        try:
            answer: dict[str, Any] = {"values": load(config_class, json.loads(line))}
        except refusals as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
