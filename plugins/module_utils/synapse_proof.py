# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""Run by Synapse's own Python: its own loader reads a configuration before and after, and compares the two.

One process for all of it, since importing Synapse takes most of the time. The configuration is judged as
`python -m synapse.config` does it, and read with the function by which Synapse itself reads its files: every
key that is to change has the wanted value then, every other one the value that it had.

Given the folder with request.json and the copies of the files; says what it found in one line of JSON behind
what Synapse prints. Nothing it says quotes a value. Needs nothing but the standard library and Synapse.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import json
import os
import sys
import traceback
from typing import Any

MARK = "matrixrtc-proof: "


def shape(value: Any) -> Any:
    """A value as JSON that is equal for equal values alone: true is not 1, and keys have no order."""
    if isinstance(value, dict):
        pairs = [[repr(key), shape(item)] for key, item in value.items()]
        return {"pairs": sorted(pairs, key=lambda pair: str(pair[0]))}
    if isinstance(value, (list, tuple)):
        return [shape(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return {"set": sorted(repr(item) for item in value)}
    return repr(value)


def differences(before: dict[str, Any], after: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """The top-level keys that would have a wrong value. `wanted`: shapes, None for a key that is to go."""
    expected = {key: shape(value) for key, value in before.items()}
    expected.update(wanted)
    expected = {key: value for key, value in expected.items() if value is not None}
    found = {key: shape(value) for key, value in after.items()}
    keys = {*expected, *found}
    return sorted(str(key) for key in keys if expected.get(key) != found.get(key))


def load_registrations(server_name: str, paths: list[str]) -> None:
    """Read all registrations as Synapse does at its start, which its check of a configuration does not.

    What it logs meanwhile, and what it raises, may quote a token. One that is yet to be written is left out.
    """
    there = [path for path in paths if os.path.lexists(path)]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        importlib.import_module("synapse.config.appservice").load_appservices(server_name, there)


def secrets_in(paths: list[str]) -> set[str]:
    """The tokens in registrations, as far as they can be read."""
    found = set()
    for path in paths:
        with contextlib.suppress(Exception), open(path, encoding="utf-8") as stream:
            document = importlib.import_module("yaml").safe_load(stream)
            found |= {str(document[name]) for name in ("as_token", "hs_token") if document.get(name)}
    return found


class _Attempt:
    """What goes wrong inside it ends here, told as Synapse tells it.

    Any kind of exception does: a wrong kind of value ends Synapse's start with whatever it leads to. None of
    the `secrets` is repeated.
    """

    def __init__(self, config_error: type[Exception]) -> None:
        self.config_error = config_error
        self.succeeded = False
        self.secrets: set[str] = set()

    def __enter__(self) -> _Attempt:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> bool:
        self.succeeded = kind is None
        if error is not None:
            is_told = isinstance(error, self.config_error)
            words = f"\n{error}\n" if is_told else "".join(traceback.format_exception(error))
            for secret in self.secrets:
                words = words.replace(secret, "...")
            sys.stderr.write(words)
        return isinstance(error, Exception)


def main(folder: str) -> None:
    """Answer the request in the folder."""
    gc.disable()  # nothing here lives long enough
    sys.path[0] = ""  # as with -m: modules of the operator's may stand in Synapse's working directory
    with open(os.path.join(folder, "request.json"), encoding="utf-8") as stream:
        request = json.load(stream)
    base = importlib.import_module("synapse.config._base")
    load = importlib.import_module("synapse.config.homeserver").HomeServerConfig.load_config
    files = {when: [os.path.join(folder, name) for name in request[when]] for when in ("before", "after")}

    def is_accepted(when: str) -> bool:
        options = [word for path in files[when] for word in ("-c", path)]
        with _Attempt(base.ConfigError) as attempt:
            config = load("", [*options, "--keys-directory", request["keys_directory"]])
            if request["registrations"]:
                paths = config.appservice.app_service_config_files
                attempt.secrets = secrets_in(paths)
                load_registrations(config.server.server_name, paths)
        return attempt.succeeded

    answer: dict[str, Any] = {"accepted": is_accepted("after")}
    if answer["accepted"]:
        before, after = (base.read_config_files(files[when]) for when in ("before", "after"))
        answer["wrong"] = differences(before, after, request["wanted"])
    else:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            answer["accepted_before"] = is_accepted("before")
    print(f"\n{MARK}{json.dumps(answer)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
