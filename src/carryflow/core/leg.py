"""The two sides of the hedged trade."""

from typing import Literal

Leg = Literal["spot", "perp"]

LEGS: tuple[Leg, Leg] = ("spot", "perp")
