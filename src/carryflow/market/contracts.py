"""The terms of every contract as the venue stated them, and since when we know: kept beside the bars."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from carryflow.core.atomic import write_atomically
from carryflow.core.errors import MarketDataError
from carryflow.core.instrument import ContractType, Instrument
from carryflow.core.leg import Leg

_DECIMALS = ("contract_size", "tick", "lot", "min_qty", "min_notional")


@dataclass(frozen=True, slots=True)
class ContractTerms:
    """Hold what a venue said of one contract at one time.

    Attributes:
        instrument: the contract itself.
        maker_fee: fee of a resting order (fraction of notional; negative: a rebate).
        taker_fee: fee of an order that takes (fraction of notional).
        funding_interval_hours: hours between settlements at that time; None for spot, or where the venue
            does not say.
        listed_ms: when trading began; None where the venue does not say.
        known_at_ms: the venue's clock when it said so.

    """

    instrument: Instrument
    maker_fee: Decimal
    taker_fee: Decimal
    funding_interval_hours: float | None
    listed_ms: int | None
    known_at_ms: int

    @property
    def leg(self) -> Leg:
        """Name the side of the hedged trade that the contract serves."""
        return "spot" if self.instrument.type is ContractType.SPOT else "perp"


def read_contracts(data_dir: Path) -> list[ContractTerms]:
    """Return all terms that were ever recorded, the oldest first; none where nothing was.

    Raises:
        MarketDataError: the file is not as `record_contracts` writes it.
    """
    path = data_dir / "contracts.json"
    if not path.is_file():
        return []
    try:
        return [_from_json(entry) for entry in json.loads(path.read_text())]
    except (ValueError, TypeError, KeyError, InvalidOperation) as problem:
        raise MarketDataError(f"{path} cannot be read ({problem!r}); remove it and fetch again") from None


def record_contracts(data_dir: Path, terms: Iterable[ContractTerms]) -> None:
    """Add terms to those recorded, atomically, unless they say what the newest of the same contract say."""
    known = read_contracts(data_dir)
    newest = {_key(entry): entry for entry in known}
    added = []
    for entry in sorted(terms, key=lambda entry: entry.known_at_ms):
        before = newest.get(_key(entry))
        if before is None or replace(before, known_at_ms=entry.known_at_ms) != entry:
            newest[_key(entry)] = entry
            added.append(entry)
    if added:
        ordered = sorted([*known, *added], key=lambda entry: (entry.known_at_ms, *_key(entry)))
        with write_atomically(data_dir / "contracts.json") as temporary:
            temporary.write_text(json.dumps([_to_json(entry) for entry in ordered], indent=1) + "\n")


def contract_at(terms: Sequence[ContractTerms], leg: Leg, ticker: str, at_ms: int) -> ContractTerms:
    """Return the terms of a ticker's leg as they were known at an instant.

    Before the first time that the venue was asked, its first answer stands in: contracts were listed long
    before anybody wrote their terms down.

    Raises:
        MarketDataError: nothing was recorded for this leg, or several contracts serve it.
    """
    own = sorted(
        (entry for entry in terms if (entry.leg, entry.instrument.ticker) == (leg, ticker)),
        key=lambda entry: entry.known_at_ms,
    )
    if not own:
        raise MarketDataError(
            f"no contract terms of {ticker} {leg} are recorded; `carryflow fetch` reads them"
        )
    symbols = sorted({f"{entry.instrument.venue} {entry.instrument.symbol}" for entry in own})
    if len(symbols) > 1:
        raise MarketDataError(
            f"{ticker} {leg} has terms of {', '.join(symbols)}; choose those of one contract first"
        )
    known = [entry for entry in own if entry.known_at_ms <= at_ms]
    return known[-1] if known else own[0]


def _key(entry: ContractTerms) -> tuple[str, str]:
    return entry.instrument.venue, entry.instrument.symbol


def _to_json(entry: ContractTerms) -> dict[str, Any]:
    flat = asdict(entry.instrument) | {k: v for k, v in asdict(entry).items() if k != "instrument"}
    return {key: str(value) if isinstance(value, Decimal) else value for key, value in flat.items()}


def _from_json(entry: dict[str, Any]) -> ContractTerms:
    own: dict[str, Any] = {name: entry[name] for name in Instrument.__dataclass_fields__}
    rest: dict[str, Any] = {name: value for name, value in entry.items() if name not in own}
    own |= {name: Decimal(own[name]) for name in _DECIMALS} | {"type": ContractType(own["type"])}
    rest |= {name: Decimal(rest[name]) for name in ("maker_fee", "taker_fee")}
    return ContractTerms(instrument=Instrument(**own), **rest)
