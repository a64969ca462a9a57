"""The command line: one of the two places that wire the rooms together."""

from carryflow.cli import commands, data, feast, features, platform  # noqa: F401 - each adds its commands
from carryflow.cli.app import main

__all__ = ["main"]
