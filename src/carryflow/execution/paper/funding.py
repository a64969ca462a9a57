"""What settles next: the rate that a mark named last before its instant."""

from collections.abc import Iterable

from carryflow.execution.journal.records import Alert, Severity
from carryflow.execution.market import Mark
from carryflow.execution.orders import Position

_HOUR_MS = 3_600_000
"""Funding is settled at full hours only."""


class ComingFunding:
    """Remember of each coin what its next settlement was last said to be."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[int, Mark]] = {}

    def hear(self, mark: Mark, now_ms: int) -> None:
        """Take in a mark; one of before the last settlement, which names it still, is left alone."""
        if names_funding(mark) and mark.next_funding_ms is not None and mark.next_funding_ms > now_ms:
            self._told[mark.ticker] = (mark.next_funding_ms, mark)

    def due(self, ticker: str, now_ms: int) -> tuple[int, Mark] | None:
        """Return a settlement whose instant has come, once, with the mark that named it; None: none has."""
        told = self._told.get(ticker)
        if told is None or now_ms < told[0]:
            return None
        return self._told.pop(ticker)

    def forget(self, ticker: str) -> None:
        """Let a coin settle nothing: no position of it is left."""
        self._told.pop(ticker, None)


def names_funding(mark: Mark) -> bool:
    """Say whether a mark tells both what settles and when."""
    return mark.funding_rate is not None and mark.next_funding_ms is not None


def unsettled(held: Iterable[Position], last_ms: int, now_ms: int) -> list[Alert]:
    """Tell of positions that were held over a full hour while nobody heard what settles.

    Args:
        held: the positions.
        last_ms: when somebody last listened (UTC ms).
        now_ms: when somebody listens again (UTC ms).
    """
    if last_ms // _HOUR_MS == now_ms // _HOUR_MS:
        return []
    hours = (now_ms - last_ms) / _HOUR_MS
    return [
        Alert(
            now_ms,
            Severity.WARNING,
            position.ticker,
            f"funding of {position.qty} {position.ticker} that came due in the last {hours:.1f} hours, while "
            "nothing ran, is not settled: what was made lacks it",
        )
        for position in held
    ]
