"""Run by Synapse's own Python: loads configurations with the real synapse.config, one per line of JSON.

In: a list of command line arguments. Out: {"error": text} or {"values": {section: {attribute: value}}}.
In: {"read": a list of files}. Out: {"error": text} or {"read": {key: {"shape": ..., "value": ...}}}, what
Synapse's own loader reads in them; the shape (synapse_proof.shape) tells all values apart.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys
from typing import Any

SECTIONS = ("appservice", "experimental", "matrix_rtc", "ratelimiting", "server")
SECTIONS += ("email", "registration", "key")


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


def read(reader: Any, paths: list[str]) -> dict[str, Any]:
    """What Synapse's loader makes of files."""
    shape = importlib.import_module("synapse_proof").shape
    with contextlib.redirect_stdout(io.StringIO()):
        config = reader(paths)
    return {str(key): {"shape": shape(value), "value": plain(value)} for key, value in config.items()}


def main() -> None:
    """Answer every line until there are no more."""
    sys.path.append(sys.argv[1])
    base = importlib.import_module("synapse.config._base")
    yaml_error = importlib.import_module("yaml").YAMLError
    config_class = importlib.import_module("synapse.config.homeserver").HomeServerConfig
    refusals = (
        yaml_error,
        base.ConfigError,
        ArithmeticError,
        AttributeError,
        LookupError,
        OSError,
        TypeError,
        ValueError,
    )
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if isinstance(asked, list):
                answer: dict[str, Any] = {"values": load(config_class, asked)}
            else:
                answer = {"read": read(base.read_config_files, asked["read"])}
        except refusals as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
