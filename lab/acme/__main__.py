# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The command line: `python -m lab.acme NAME` brings an ACME authority and a proxy up in a lab."""

from __future__ import annotations

import argparse
import sys

from ..engine import ensure
from ..errors import LabError
from ..progress import Progress
from .pebble import bring_up


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m lab.acme", description=__doc__)
    parser.add_argument("name", help="the lab")
    given = parser.parse_args(arguments)
    progress = Progress()
    try:
        bring_up(progress, ensure(progress), given.name)
    except LabError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
