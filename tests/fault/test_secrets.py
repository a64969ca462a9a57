"""Keys and secrets are nowhere but in memory: not in logs, journals, errors, alerts or metrics."""

import asyncio
import contextlib
import logging
import re
import secrets
import traceback
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from carryflow.execution.pair.states import State
from carryflow.monitoring.metrics import ExecutionMetrics
from carryflow.venues.credentials import Credentials
from carryflow.venues.simulated.faults import Fault, Injected
from tests.fault.ground import Ground, grounds
from tests.fault.market import QUOTE, TICKERS
from tests.fault.stand import CAPITAL, Stand, standing

_SIGNATURE = re.compile(r"[0-9a-f]{64}")
"""What HMAC-SHA256 looks like; nothing else that we write does."""

_FAULTS = (
    Fault.REFUSED,
    Fault.LOST_ANSWER,
    Fault.ERROR_AFTER,
    Fault.TRUNCATED,
    Fault.SERVER_ERROR,
    Fault.TOO_MANY_REQUESTS,
    Fault.BANNED,
    Fault.RESET,
    Fault.DELAYED_ANSWER,
)


class Said:
    """Gather all that is said anywhere."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.texts: dict[str, str] = {}

    def hear(self, where: str, text: str) -> None:
        """Add something that was said."""
        self.texts[where] = self.texts.get(where, "") + text

    @contextlib.contextmanager
    def errors(self, where: str) -> Iterator[None]:
        """Add the error that ends the block, its causes and its traceback; there must be one."""
        with pytest.raises(Exception) as caught:  # noqa: PT011 - any
            yield
        self.hear(where, "".join(traceback.format_exception(caught.value)) + repr(caught.value.__dict__))

    def read_files(self) -> None:
        """Add what lies on the disk."""
        for file in self._folder.rglob("*"):
            if file.is_file():
                self.hear(f"file {file.name}", file.read_bytes().decode("latin-1"))


def test_no_key_and_no_secret_is_ever_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    credentials = Credentials(secrets.token_hex(16), secrets.token_hex(24), secrets.token_hex(8))
    said = Said(tmp_path)
    with grounds() as ground:
        half = CAPITAL / 2
        ground.exchange.open_account(credentials.key, credentials.secret, {QUOTE: half}, half)
        asyncio.run(live(ground, credentials, tmp_path, said), debug=True)
    said.hear("log", caplog.text + "".join(str(vars(record)) for record in caplog.records))
    said.hear("output", "".join(capfd.readouterr()))
    said.hear("repr", f"{credentials!r} {credentials}")
    said.read_files()
    assert {"log", "errors of a wrong key", "errors of a crash", "alerts", "metrics"} <= said.texts.keys()
    assert "file journal.db" in said.texts
    for where, text in said.texts.items():
        for what in (credentials.key, credentials.secret, credentials.passphrase):
            assert what not in text, where
        assert not _SIGNATURE.search(text), where


async def live(ground: Ground, credentials: Credentials, folder: Path, said: Said) -> None:
    """Let everything go wrong that tells something of a request."""
    clock, url = ground.clock, ground.exchange.url
    for number, wrong in enumerate(
        (Credentials(credentials.key, secrets.token_hex(24)), Credentials("", ""))
    ):
        with said.errors("errors of a wrong key"):
            async with standing(url, wrong, folder / str(number), clock, "taker"):
                pass
    async with standing(url, credentials, folder, clock, "taker") as stand:
        for number, fault in enumerate(_FAULTS):
            for path in ("/order", "/depth", "/account", "Trades"):
                ground.inject(Injected(fault, 1, path, 0, delay_seconds=0.3, words="no"))
            await stand.engine.apply(stand.decision(TICKERS[number % 2], (number % 3) / 2))
            said.hear("outcomes", repr(await stand.engine.reconcile()) + repr(stand.engine.status()))
            ground.clear()
            await clock.sleep(200.0)
        hear_metrics(stand, said)
        said.hear("alerts", repr(stand.alerts) + repr(stand.journal.alerts()))
        ground.inject(Injected(Fault.LOST_ANSWER, 50, "/order"))
        with said.errors("errors of a crash"):
            await asyncio.wait_for(stand.engine.apply(stand.decision(TICKERS[0], 0.7)), 0.2)
        with said.errors("errors of a closed journal"):
            stand.journal.close()
            await stand.engine.apply(stand.decision(TICKERS[1], 0.7))


def hear_metrics(stand: Stand, said: Said) -> None:
    """Add what the metrics page shows."""
    registry = CollectorRegistry()
    metrics = ExecutionMetrics(registry)
    metrics.record_account(float(Decimal(1)), 0, None)
    for alert in stand.alerts:
        metrics.count_alert(alert.severity)
    for pair in stand.journal.pairs():
        metrics.record_pair(pair.ticker, pair.state, list(State), 0.0, blocked=pair.blocked is not None)
    said.hear("metrics", generate_latest(registry).decode())
