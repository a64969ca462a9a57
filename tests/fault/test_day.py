"""A day of three coins, hundreds of times as fast as time, in which the venue goes wrong again and again."""

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

import pytest

from carryflow.cli.trading.place import Place
from carryflow.core.leg import LEGS
from carryflow.execution.journal.journal import Journal
from carryflow.execution.journal.records import Mode
from carryflow.market.timeframe import HOUR_MS
from carryflow.venues.credentials import Credentials
from carryflow.venues.simulated.faults import OF_STREAMS, Injected
from carryflow.venues.simulated.server import start_exchange
from tests.fault.day import SPEED, Day
from tests.fault.episodes import draw_trouble
from tests.fault.extent import EXTENT
from tests.fault.ground import Ground
from tests.fault.kills import ROOT
from tests.fault.market import TICKERS, minute_tape
from tests.fault.stand import CAPITAL, PLENTY, listed
from tests.fault.tally import Tally

_SPARE_HOURS = 24
_DELAY_SECONDS = 1.2
_CALM_HOURS = 0.5
"""Nothing new goes wrong so shortly before the end (hours of the venue)."""

_FOLLOWED = 0.2
"""Part of the decisions that must lead to trades at least; others change nothing, or are not allowed to."""

_GROWTH = 1.05
"""What the second half of a day may need of memory, over the first once it has warmed up."""


@pytest.mark.timeout(900)
def test_a_day_of_faults_leaves_nothing_uncaught_and_nothing_behind(tally: Tally) -> None:
    tape = minute_tape(EXTENT.hours + _SPARE_HOURS)
    start_ms = tape.end_ms - (EXTENT.hours + _SPARE_HOURS - 1) * HOUR_MS
    with (
        TemporaryDirectory() as home,
        start_exchange(tape, trading=PLENTY, start_ms=start_ms, speed=SPEED) as exchange,
    ):
        ground = Ground(exchange)
        credentials, spectator = ground.open_account(), ground.open_account()
        instruments = asyncio.run(listed(exchange.url, spectator, TICKERS))
        diary = play(
            Day(exchange.url, home, TICKERS, float(CAPITAL), EXTENT.hours, seed=5), ground, credentials
        )
        journal = Journal.read(Path(home, "execution", "sandbox", "journal.db"))
        try:
            audit = ground.audit(credentials, journal, instruments)
            known = {decision.decision_id for decision in journal.decisions()}
            joined = {intent.decision_id for intent in journal.intents()}
        finally:
            journal.close()
    tally.add(f"days of {EXTENT.hours} hours", audit)
    tally.faults.update(exchange.faults_happened)
    assert diary["uncaught"] == []
    assert audit.findings == ()
    assert audit.halted == ()
    assert len(diary["decisions"]) >= EXTENT.hours * 2 * len(TICKERS)
    assert set(diary["decisions"]) <= known
    assert len(joined & set(diary["decisions"])) >= _FOLLOWED * len(diary["decisions"])
    if EXTENT.hours > 8:
        resident = diary["resident"]
        fifth = len(resident) // 5
        assert median(resident[-fifth:]) <= _GROWTH * median(resident[fifth : 2 * fifth])


def play(day: Day, ground: Ground, credentials: Credentials) -> dict[str, Any]:
    """Let a process trade the day while things go wrong, and return its diary."""
    environ = os.environ | {"CARRYFLOW_API_KEY": credentials.key, "CARRYFLOW_API_SECRET": credentials.secret}
    command, pipe = [sys.executable, "-m", "tests.fault.day"], subprocess.PIPE
    with (
        TemporaryFile("w+") as words,
        subprocess.Popen(
            command, cwd=ROOT, env=environ, stdin=pipe, stdout=pipe, stderr=words, text=True
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(asdict(day)) + "\n")
        process.stdin.flush()
        if process.stdout.readline().strip() == "trading":
            end_ms = ground.exchange.now_ms + round((day.hours - _CALM_HOURS) * HOUR_MS)
            go_wrong(ground, end_ms, Place(Mode.SANDBOX, Path(day.home, "execution", "sandbox")))
        last = process.stdout.readline()
        words.seek(0)
        assert process.wait(timeout=60) == 0, words.read()[-4000:]
    diary: dict[str, Any] = json.loads(last)
    return diary


def go_wrong(ground: Ground, end_ms: int, place: Place) -> None:
    """Let something go wrong every now and then until shortly before the end of the day.

    Now and then a person looks, too, and lets all that is blocked trade again.
    """
    rng = random.Random(17)  # noqa: S311 - no secret
    exchange = ground.exchange
    while exchange.now_ms < end_ms:
        time.sleep(rng.uniform(0.1, 0.8))
        draw = rng.random()
        if draw < 0.25:
            ground.inject(Injected(rng.choice(sorted(OF_STREAMS)), rng.choice((1, 3)), ""))
        elif draw < 0.40:
            for ticker in TICKERS:
                place.ask_to_resume(ticker, "a test looked")
        elif draw < 0.45:
            leg, ticker = rng.choice(LEGS), rng.choice(TICKERS)
            exchange.halt(leg, ticker)
            time.sleep(0.5)
            exchange.halt(leg, ticker, False)
        elif draw < 0.48:
            exchange.maintain()
            time.sleep(0.3)
            exchange.maintain(False)
        else:
            late = rng.choice((300, 60_000, 600_000))
            ground.inject(replace(draw_trouble(rng), delay_seconds=_DELAY_SECONDS, late_ms=late))
    ground.clear()
