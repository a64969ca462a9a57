"""The engine's numbers for Prometheus, read off its status and its journal."""

from carryflow.cli.trading.session import Session
from carryflow.execution.pair.states import State
from carryflow.monitoring.metrics import ExecutionMetrics

STATES = tuple(state.value for state in State)

_OLD_MS = 3_600_000
"""How long after its decision an order is waited for that has not ended (ms of the venue's clock)."""


class Gauges:
    """Bring the metrics up to date, look by look; what was counted once is not counted again."""

    def __init__(self, session: Session, metrics: ExecutionMetrics) -> None:
        """Count what happens from now on."""
        self._session = session
        self._metrics = metrics
        self._since_ms = session.clock.now_ms()
        self._watched: dict[str, int] = {}
        self._counted: dict[str, set[str]] = {}

    def look(self) -> None:
        """Read everything once."""
        status, metrics = self._session.engine.status(), self._metrics
        reconciled = status.reconciled_ms
        age = None if reconciled is None else (status.at_ms - reconciled) / 1000
        metrics.record_account(status.equity_quote, int(status.level), age)
        seen: dict[str, int | None] = {}
        for stream in self._session.feed.health().streams:
            before = seen.get(stream.ticker, stream.seen_ms)
            none = before is None or stream.seen_ms is None
            seen[stream.ticker] = None if none else min(before or 0, stream.seen_ms or 0)
        for pair in status.pairs:
            metrics.record_pair(
                pair.ticker,
                pair.state.value,
                STATES,
                float(pair.delta_base),
                blocked=pair.blocked is not None,
            )
            heard = seen.get(pair.ticker)
            metrics.record_feed_age(pair.ticker, None if heard is None else (status.at_ms - heard) / 1000)
        self._count(status.at_ms)

    def _count(self, now_ms: int) -> None:
        """Count the orders that have ended, and their trades, decision by decision."""
        journal = self._session.journal
        for decision in journal.decisions(self._since_ms):
            self._watched.setdefault(decision.decision_id, decision.decided_ms)
        for decision_id, decided_ms in list(self._watched.items()):
            counted = self._counted.setdefault(decision_id, set())
            open_orders = 0
            for intent in journal.intents(decision_id):
                for order in journal.orders(intent_id=intent.intent_id):
                    name = order.request.client_id
                    if not order.finished:
                        open_orders += 1
                    elif name not in counted:
                        counted.add(name)
                        ended = "lost" if order.lost or order.status is None else order.status.value
                        self._metrics.count_order(order.request.leg, ended)
                        for fill in journal.fills(client_id=name):
                            self._metrics.count_fill(fill.leg)
            if not open_orders and now_ms - decided_ms > _OLD_MS:
                del self._watched[decision_id], self._counted[decision_id]
        self._since_ms = max(self._since_ms, now_ms - _OLD_MS)
