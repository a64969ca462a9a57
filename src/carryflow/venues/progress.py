"""How a fetch tells how far it has come."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Told (ticker, bars done, bars in all), both legs counted, after each part that was written."""
