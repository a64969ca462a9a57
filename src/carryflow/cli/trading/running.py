"""A session from its first line to its last, on a terminal."""

import asyncio
from typing import TYPE_CHECKING

from carryflow.cli.app import console
from carryflow.cli.trading.accounts import format_instant, say_result
from carryflow.cli.trading.announcer import Announcer
from carryflow.cli.trading.place import machine_ms
from carryflow.cli.trading.session import open_session, trade
from carryflow.core.errors import SettingsError

if TYPE_CHECKING:
    from carryflow.cli.trading.preparation import Ready
    from carryflow.monitoring.metrics import ExecutionMetrics


def run_session(ready: "Ready", metrics_port: int | None) -> None:
    """Trade until the session ends, and say what came of it.

    Raises:
        CarryflowError: it cannot begin, or something is so wrong that nothing more may be sent.
    """
    metrics = None if metrics_port is None else _serve_metrics(metrics_port)
    console.print(f"{ready.words}; {ready.terms.place.journal}", soft_wrap=True, markup=False)
    asyncio.run(_trade(ready, Announcer(show, machine_ms, metrics)))


def show(ts_ms: int, ticker: str, words: str, style: str) -> None:
    """Print one line."""
    console.print(
        f"{format_instant(ts_ms)} {ticker:<5} {words}", style=style or None, soft_wrap=True, markup=False
    )


async def _trade(ready: "Ready", announcer: Announcer) -> None:
    async with open_session(ready.terms, announcer) as session:
        policy = ready.policy(session.clock)
        console.print(f"trading {', '.join(session.terms.tickers)} by {policy.about}", soft_wrap=True)
        if getattr(session.clock, "speed", 1.0) == 0.0:
            console.print(
                "the exchange's clock stands, so that no bar closes until somebody sets it: start it with "
                "`carryflow exchange up --trade --speed 60`",
                style="yellow",
                soft_wrap=True,
            )
        try:
            await trade(session, policy, announcer, ready.refetch, ready.first_bar_ms, ready.hours)
        finally:
            say_result(ready.terms.place)


def _serve_metrics(port: int) -> "ExecutionMetrics":
    """Serve metrics on this machine.

    Raises:
        SettingsError: the port is taken.
    """
    from prometheus_client import CollectorRegistry, start_http_server

    from carryflow.monitoring.metrics import ExecutionMetrics

    registry = CollectorRegistry()
    try:
        server, _ = start_http_server(port, addr="127.0.0.1", registry=registry)
    except OSError as error:
        raise SettingsError(f"--metrics-port {port}: {error.strerror}; choose another") from None
    console.print(f"metrics at http://127.0.0.1:{server.server_port}/metrics", soft_wrap=True)
    return ExecutionMetrics(registry)
