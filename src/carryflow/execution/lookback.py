"""How far back one looks for the news that explains a difference."""

_LONGER = 1.5
"""How much longer a difference must have lasted before one looks back again for the same one."""


class Lookback:
    """Remember when venue and books agreed, and say when to ask for everything that happened since.

    News may be late by minutes or hours, and asking for hours of them costs requests. So one looks back when
    a difference is new or has changed, and ever more seldom while it lasts.

    Attributes:
        agreed_ms: when venue and books last agreed on everything (our clock, UTC ms).
    """

    def __init__(self, agreed_ms: int) -> None:
        self.agreed_ms = agreed_ms
        self._found: frozenset[str] = frozenset()
        self._new_ms = self._looked_ms = 0

    def agree(self, now_ms: int) -> None:
        """Take note that nothing differs."""
        self.agreed_ms, self._found = now_ms, frozenset()

    def since_ms(self, found: frozenset[str], now_ms: int) -> int | None:
        """Return from when on to ask for news (UTC ms), given what differs; None: not now.

        >>> lookback = Lookback(0)
        >>> [lookback.since_ms(frozenset({"cash"}), minute) for minute in (10, 11, 12, 13, 14, 15)]
        [0, 0, 0, 0, None, 0]
        >>> lookback.since_ms(frozenset({"cash", "coins"}), 16)
        0
        """
        if found != self._found:
            self._found, self._new_ms = found, now_ms
        elif now_ms - self._new_ms < _LONGER * (self._looked_ms - self._new_ms):
            return None
        self._looked_ms = now_ms
        return self.agreed_ms
