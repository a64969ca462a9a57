"""The command line: one of the two places that wire the rooms together."""

from carryflow.cli.commands import main

__all__ = ["main"]
