"""Where a journal's money is: the venue, its address, and the tape that a simulated exchange plays."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from carryflow.core.errors import SettingsError

if TYPE_CHECKING:
    from carryflow.settings import Settings
    from carryflow.venues.settings import VenueSettings

SIMULATED = "simulated"
_BESIDE = "beside"


@dataclass(frozen=True, slots=True)
class Origin:
    """Name where a journal's money is; its words are the journal's name of the venue.

    Attributes:
        venue: the venue's name.
        url: address of a simulated exchange.
        beside: it is one that ends with the command that started it.
        tape_id: what it plays; None: not known.
    """

    venue: str
    url: str | None = None
    beside: bool = False
    tape_id: str | None = None

    def __str__(self) -> str:
        """Write it as a journal does.

        >>> str(Origin("simulated", beside=True, tape_id="synthetic-fa801b08")), str(Origin("binance"))
        ('simulated, beside, synthetic-fa801b08', 'binance')
        """
        where = self.venue if self.url is None else f"{self.venue} {self.url}"
        return ", ".join(part for part in (where, _BESIDE if self.beside else "", self.tape_id) if part)

    @classmethod
    def parse(cls, words: str) -> Self:
        """Read what a journal says of its venue.

        >>> Origin.parse("simulated http://127.0.0.1:8700, recorded-ed882fce").tape_id
        'recorded-ed882fce'
        """
        where, *more = words.split(", ")
        venue, _, url = where.partition(" ")
        tape_id = next((part for part in more if part != _BESIDE), None)
        return cls(venue, url or None, _BESIDE in more, tape_id)

    def require_tape(self, tape_id: str) -> None:
        """Do nothing if the journal was made on this tape, or nobody wrote down on which.

        Raises:
            SettingsError: it was made on another.
        """
        if self.tape_id is not None and tape_id != self.tape_id:
            raise SettingsError(
                f"this journal was made at {self}, and what is fetched now would be {tape_id}: another "
                f"market; name the tape {self.tape_id} with --tape, or its exchange with -o venue.url=…"
            )

    def settings(self, settings: "Settings") -> "Settings":
        """Return settings that ask this venue, where another is not named on purpose.

        Raises:
            SettingsError: another is.
        """
        venue = settings.venue
        elsewhere = venue.name not in (SIMULATED, self.venue)
        if self.venue == SIMULATED:
            elsewhere = elsewhere or (not self.beside and venue.url not in (None, self.url))
        if elsewhere:
            raise SettingsError(
                f"this journal is of {self}, not of {venue.name} {venue.url or ''}".rstrip()
                + "; leave the venue and its address away, or name the home of the other one with -o home=…"
            )
        url = self.url if self.venue == SIMULATED and self.url is not None else venue.url
        named = {**venue.model_dump(), "name": self.venue, "url": url}
        return settings.model_copy(update={"venue": type(venue).model_validate(named)})


async def _ask(venue: "VenueSettings") -> tuple[str, int]:
    from carryflow.venues.connection import VenueConnection

    async with VenueConnection(venue) as connection:
        return connection.tape_id, await connection.now_ms()


def ask_tape(venue: "VenueSettings") -> tuple[str, int]:
    """Return the tape that a simulated exchange plays, and its clock (UTC ms); "live" of a real venue.

    Raises:
        VenueError: it did not answer.
    """
    return asyncio.run(_ask(venue))
