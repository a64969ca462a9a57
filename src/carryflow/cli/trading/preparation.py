"""What must be there before an engine starts: the policy, its history, an address, a key."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from carryflow.cli.app import console
from carryflow.cli.trading.beside import HOURS, plan_beside, playing, standing
from carryflow.cli.trading.origin import SIMULATED, Origin, ask_tape
from carryflow.cli.trading.place import Place, machine_ms
from carryflow.cli.trading.policies import CHAMPION, Champion, Policy, load_champion, reference
from carryflow.cli.trading.session import Terms
from carryflow.core.errors import SettingsError
from carryflow.execution.journal.records import Mode
from carryflow.market.timeframe import bar_ms

if TYPE_CHECKING:
    from carryflow.cli.trading.windows import StreamedWindows
    from carryflow.execution.ports import Clock
    from carryflow.settings import Settings
    from carryflow.venues.credentials import Credentials


@dataclass(frozen=True, slots=True)
class Ready:
    """Hold what a session is made of.

    Attributes:
        terms: whose money, where.
        policy: makes the policy for a clock.
        refetch: brings the stored history up to date and gives its folder.
        first_bar_ms: open of the first bar that the policy has not learned (UTC ms); None: the newest.
        hours: how long it lasts, hours of the venue's clock; None: until somebody interrupts.
        words: what a person reads first.
    """

    terms: Terms
    policy: "Callable[[Clock], Policy]"
    refetch: Callable[[], Path]
    first_bar_ms: int | None
    hours: float | None
    words: str


class Eyes:
    """What a policy needs to begin: nothing for a reference, the newest history for the champion."""

    def __init__(self, settings: "Settings", place: Place, name: str) -> None:
        """Load the champion, if it is the policy.

        Raises:
            RegistryError: there is no champion.
        """
        self._settings = settings
        self._place = place
        self._name = name
        self._length_ms = bar_ms(settings.data.timeframe)
        self._windows: StreamedWindows | None = None
        self.history_ms = 0
        if name == CHAMPION:
            from carryflow.cli.trading import windows

            self._bundle = load_champion(settings)
            self._windows = windows.StreamedWindows(self._bundle.spec, settings.data.tickers, settings.data)
            self.history_ms = windows.history_ms(self._bundle.spec, settings.data)

    def open(self, settings: "Settings", now_ms: int) -> int | None:
        """Fetch history from this venue; return the open of the first bar to come (UTC ms)."""
        if self._windows is None:
            return None
        console.print(f"fetching {self.history_ms / 3_600_000:.0f} hours of history", soft_wrap=True)
        return self._windows.prime(self.fetch(settings, now_ms), now_ms)

    def fetch(self, settings: "Settings", now_ms: int) -> Path:
        """Bring the stored history up to date and give its folder."""
        from carryflow.venues.ccxt_market import fetch_market

        start = datetime.fromtimestamp((now_ms - self.history_ms) / 1000, UTC)
        data = settings.data.model_copy(update={"start": start.replace(minute=0, second=0), "end": None})
        fetch_market(self._place.market, settings.venue, data)
        return self._place.market

    def policy(self, clock: "Clock") -> Policy:
        """Make the policy."""
        if self._windows is None:
            return reference(self._name, self._length_ms)
        age_ms = round(self._settings.serving.max_feature_age_hours * 3_600_000)
        return Champion(self._bundle, self._windows, clock, age_ms)


@contextmanager
def prepare(
    settings: "Settings", mode: Mode, policy: str, hours: float | None, environ: Mapping[str, str]
) -> Iterator[Ready]:
    """Lend all that a session of a policy needs; an exchange is started beside where no other is named.

    Raises:
        SettingsError: a key is missing, the tape is too short, or an engine runs here already.
        RegistryError: there is no champion.
        VenueError: the venue does not answer.
    """
    place = Place.of(settings, mode)
    eyes = Eyes(settings, place, policy)
    if settings.venue.name == "simulated" and settings.venue.url is None:
        with _beside(settings, place, eyes, hours) as ready:
            yield ready
        return
    credentials = None if mode is Mode.PAPER else read_credentials(settings, environ)
    origin, now_ms = _look(settings)
    first_bar_ms = eyes.open(settings, now_ms)
    yield Ready(
        Terms(settings, place, str(origin), credentials),
        eyes.policy,
        lambda: eyes.fetch(settings, _look(settings)[1]),
        first_bar_ms,
        hours,
        f"{mode.value} at {origin}",
    )


@contextmanager
def _beside(settings: "Settings", place: Place, eyes: Eyes, hours: float | None) -> Iterator[Ready]:
    _require_nothing_left(place)
    plan = plan_beside(settings, hours or HOURS, eyes.history_ms)
    kept = place.put_aside()
    if kept is not None:
        console.print(
            f"the exchange of the last session is gone; its journal is kept as {kept}",
            soft_wrap=True,
            markup=False,
        )
    with standing(settings, plan) as still:
        first_bar_ms = eyes.open(still, plan.start_ms)
    origin = Origin(SIMULATED, beside=True, tape_id=plan.tape.tape_id)
    with playing(settings, plan) as (played, key):
        yield Ready(
            Terms(played, place, str(origin), None if place.mode is Mode.PAPER else key),
            eyes.policy,
            lambda: eyes.fetch(played, plan.start_ms),
            first_bar_ms,
            hours or HOURS,
            f"{place.mode.value} at a simulated exchange beside: {plan.tape.tape_id} from "
            f"{datetime.fromtimestamp(plan.start_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC, "
            f"{plan.speed:g} times as fast as time",
        )


def _require_nothing_left(place: Place) -> None:
    """Do nothing if the journal, if there is one, is of an exchange that ended with its command.

    Raises:
        SettingsError: it is of an account that still exists, whose positions must not be forgotten.
    """
    from carryflow.execution.journal.journal import Journal

    if not place.journal.exists():
        return
    with Journal.read(place.journal) as journal:
        origin = Origin.parse(journal.identity.venue)
    if not origin.beside:
        named = f"--venue {origin.venue}" if origin.url is None else f"-o venue.url={origin.url}"
        raise SettingsError(
            f"{place.journal} is of {origin}; name that with {named}, or another home with -o home=…"
        )


def read_credentials(settings: "Settings", environ: Mapping[str, str] = os.environ) -> "Credentials":
    """Read the key of the account from the environment.

    Raises:
        SettingsError: a variable is missing.
    """
    from carryflow.venues.credentials import Credentials
    from carryflow.venues.trading.accounts.known import ACCOUNTS

    return Credentials.from_environment(environ, passphrase=ACCOUNTS[settings.venue.name].needs_passphrase)


def _look(settings: "Settings") -> tuple[Origin, int]:
    """Return where is traded, and the clock (UTC ms): a simulated exchange's, else this machine's."""
    venue = settings.venue
    if venue.name != SIMULATED:
        return Origin(venue.name), machine_ms()
    tape_id, now_ms = ask_tape(venue)
    return Origin(venue.name, venue.url, tape_id=tape_id), now_ms
