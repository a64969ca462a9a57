"""The colours of every figure: the same thing has the same colour in an episode and in a report."""

from collections.abc import Mapping
from types import MappingProxyType

INK, MUTED, RULE = "#1c2430", "#687385", "#e6e9ee"

FONT_FAMILY = "Inter, -apple-system, 'Segoe UI', Roboto, Helvetica, sans-serif"

PART_COLOURS: Mapping[str, str] = MappingProxyType(
    {
        "funding": "#1a9c8a",
        "basis": "#8fb8de",
        "fees": "#d9534f",
        "slippage": "#eb9a7d",
        "borrow": "#b58bc9",
        "liquidation": "#4a1a1a",
    }
)
"""By `core.account.PARTS`."""
