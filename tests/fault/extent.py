"""How much is played."""

import os
from dataclasses import dataclass

PLAY_ALL = os.environ.get("CARRYFLOW_FAULTS") == "all"
"""Whether all is played, as `make faults` asks for, or what every test run can afford."""


@dataclass(frozen=True, slots=True)
class Extent:
    """Count episodes, lives that end with kill -9, and hours of the accelerated day."""

    episodes: int
    kills: int
    hours: int


EXTENT = Extent(episodes=1_000, kills=200, hours=24) if PLAY_ALL else Extent(episodes=40, kills=12, hours=2)
