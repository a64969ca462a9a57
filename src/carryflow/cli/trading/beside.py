"""The simulated exchange that is started beside an engine where no other is named: the tape's last hours."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from carryflow.core.errors import SettingsError

if TYPE_CHECKING:
    from carryflow.settings import Settings
    from carryflow.venues.credentials import Credentials
    from carryflow.venues.simulated.tape import Tape

HOUR_MS = 3_600_000

SPEED = 720.0
"""Seconds of its clock in one of ours where `exchange.speed` does not say: a day in two minutes."""

HOURS = 24.0
"""How long it is traded where nobody says (hours)."""

SPARE_HOURS = 6
"""Hours of the tape left unplayed: at its end the clock stands, and an engine takes some time to end."""


@dataclass(frozen=True, slots=True)
class Beside:
    """Hold an exchange that plays the tape's last hours.

    Attributes:
        tape: what it plays.
        start_ms: where its clock starts (UTC ms).
        speed: seconds of its clock in one of ours.
    """

    tape: "Tape"
    start_ms: int
    speed: float


def plan_beside(settings: "Settings", hours: float, history_ms: int) -> Beside:
    """Choose the hours to play, so that the history before them is on the tape.

    Raises:
        SettingsError: the tape is too short.
        MarketDataError: there is no such tape.
    """
    from carryflow.market.data import to_ms, utc
    from carryflow.venues.simulated.settings import open_tape

    tape = open_tape(settings.exchange, settings.data.tickers)
    start = settings.exchange.start
    start_ms = tape.end_ms - round((hours + SPARE_HOURS) * HOUR_MS) if start is None else to_ms(utc(start))
    start_ms -= start_ms % HOUR_MS
    first_ms = max(int(table["timestamp"].dt.epoch("ms")[0]) for table in tape.tables.values())
    if start_ms - history_ms < first_ms or start_ms + hours * HOUR_MS > tape.end_ms:
        there = (tape.end_ms - first_ms) / HOUR_MS - SPARE_HOURS
        raise SettingsError(
            f"the tape has {there:.0f} hours to play, of which the policy looks at "
            f"{history_ms / HOUR_MS:.0f} before its first decision: {hours:g} are too many; ask for fewer "
            "with --hours, or set a later exchange.start"
        )
    return Beside(tape, start_ms, settings.exchange.speed or SPEED)


@contextmanager
def standing(settings: "Settings", beside: Beside) -> "Iterator[Settings]":
    """Lend an exchange whose clock stands where trading will begin, to fetch history from."""
    from carryflow.venues.simulated.server import start_exchange

    with start_exchange(beside.tape, settings.exchange.host, port=0) as exchange:
        exchange.set_clock(beside.start_ms)
        yield _with_url(settings, exchange.url)


@contextmanager
def playing(settings: "Settings", beside: Beside) -> "Iterator[tuple[Settings, Credentials]]":
    """Lend an exchange that plays, and the key of an account there with the capital in it."""
    from carryflow.venues.credentials import Credentials
    from carryflow.venues.simulated.server import start_exchange

    credentials = Credentials(secrets.token_hex(16), secrets.token_hex(32))
    spot, futures = wallets(settings)
    with start_exchange(
        beside.tape,
        settings.exchange.host,
        port=0,
        trading=settings.exchange.trading,
        start_ms=beside.start_ms,
        speed=beside.speed,
    ) as exchange:
        exchange.open_account(credentials.key, credentials.secret, {settings.data.quote: spot}, futures)
        yield _with_url(settings, exchange.url), credentials


def wallets(settings: "Settings") -> tuple[Decimal, Decimal]:
    """Split the capital over the spot wallet and that of the futures (quote)."""
    capital = Decimal(str(settings.execution.capital_quote))
    spot = (capital * Decimal(str(settings.execution.spot_share))).quantize(Decimal("0.01"))
    return spot, capital - spot


def _with_url(settings: "Settings", url: str) -> "Settings":
    return settings.model_copy(update={"venue": settings.venue.model_copy(update={"url": url})})
