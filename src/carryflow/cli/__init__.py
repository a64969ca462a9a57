"""The command line: one of the two places that wire the rooms together."""

from carryflow.cli import commands  # noqa: F401 - each module adds its commands; the loop's come first

# isort: split
from carryflow.cli import backtest, data, feast, features, platform, stress  # noqa: F401
from carryflow.cli.app import main
from carryflow.cli.trading import accounts, flatten, levels, parity, trade  # noqa: F401

__all__ = ["main"]
