"""How each ticker's account stands, as a policy is told: its position, and the fall from its peak."""

from carryflow.cli.trading.policies import Standing
from carryflow.core.account import Column
from carryflow.core.hedge import hedged_fraction
from carryflow.execution.books import Books
from carryflow.execution.engine import Engine
from carryflow.execution.journal.journal import Journal
from carryflow.execution.journal.records import Valuation


class Standings:
    """Read standings off an engine's books, and remember the peaks of equity."""

    def __init__(self, engine: Engine, journal: Journal) -> None:
        """Find the peaks so far in the journal."""
        self._engine = engine
        self._share = journal.identity.spot_share
        self._peaks = _peaks(journal)

    def of(self, ticker: str) -> Standing:
        """Return how a ticker's account stands at the prices that the engine saw last."""
        book = self._engine.books.pairs[ticker]
        equity, price = book.equity, float(book.account[Column.SPOT_PRICE])
        peak = self._peaks[ticker] = max(self._peaks.get(ticker, equity), equity)
        if equity <= 0.0:
            return Standing(0.0, 1.0)
        return Standing(
            hedged_fraction(float(book.spot_qty), price, self._share, equity), 1.0 - equity / peak
        )


def _peaks(journal: Journal) -> dict[str, float]:
    opening = journal.opening()
    if opening is None:
        return {}
    books = Books(journal.identity.quote, opening.allotment)
    peaks = {ticker: pair.equity for ticker, pair in books.pairs.items()}
    for event in journal.events():
        books.apply(event)
        if isinstance(event, Valuation):
            peaks[event.ticker] = max(peaks[event.ticker], books.pairs[event.ticker].equity)
    return peaks
