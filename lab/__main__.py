# Copyright (c) 2026 The matrixrtc.backend authors
# SPDX-License-Identifier: Apache-2.0
"""The command line: `python -m lab up|down|status|images`."""

from __future__ import annotations

import argparse
import os
import sys

from docker.errors import DockerException

from . import commands
from .errors import LabError
from .progress import Progress


def parser() -> argparse.ArgumentParser:
    """The commands and their arguments."""
    root = argparse.ArgumentParser(
        prog="python -m lab",
        description=(
            "Disposable hosts that behave like servers. LAB_LIVEKIT and LAB_TOKEN_SERVICE name a version or "
            "a file ([VERSION=]PATH) to use instead of what the lab finds or builds; see lab/README.md."
        ),
    )
    commands_ = root.add_subparsers(dest="command", required=True)

    up = commands_.add_parser("up", help="make a lab, or say that it is there")
    up.add_argument("name", help="demo, default, or a new name with --site")
    up.add_argument(
        "--site",
        action="append",
        default=[],
        metavar="NAME=IMAGE",
        help="an all-in-one host NAME.test on debian13 or debian12; may be repeated",
    )

    down = commands_.add_parser("down", help="remove labs")
    down.add_argument("name", nargs="*", help="the labs to remove")
    down.add_argument("--all", action="store_true", help="every lab of this engine, also of other clones")
    down.add_argument(
        "--purge",
        action="store_true",
        help="also remove images, cached builds and a docker daemon that the lab started",
    )

    commands_.add_parser("status", help="show the labs and their hosts")
    images = commands_.add_parser("images", help="only build the images")
    images.add_argument("image", nargs="*", help="debian13, debian12; default: all")
    return root


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns the exit status."""
    given = parser().parse_args(arguments)
    progress = Progress()
    try:
        if given.command == "up":
            commands.up(progress, given.name, given.site)
        elif given.command == "down":
            if not given.name and not given.all:
                raise LabError("name the labs to remove, or use --all")
            commands.down(progress, given.name, given.all, given.purge)
        elif given.command == "status":
            commands.status(progress)
        else:
            commands.build_images(progress, given.image)
    except LabError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except DockerException as error:
        print(f"\nThe container engine refused: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # the reader has seen enough (`| head`); without this Python complains once more when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The next `up` goes on from here.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
