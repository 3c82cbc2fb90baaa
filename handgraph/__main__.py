"""Lift or draw keypoint files, or print the installed versions: ``python -m handgraph lift``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from handgraph.command import draw, info, lift


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command.

    Args:
        arguments: Command-line arguments; ``None`` takes those of this process.
    """
    parser = argparse.ArgumentParser("python -m handgraph", description="3D hands from keypoints.")
    commands = parser.add_subparsers(dest="command", required=True)
    lift.add_to(commands)
    draw.add_to(commands)
    info.add_to(commands)
    args = parser.parse_args(arguments)
    try:
        args.run(args)
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"handgraph {args.command}: {error}")


if __name__ == "__main__":
    main()
