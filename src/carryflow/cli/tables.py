"""What the commands over data and features found, as tables for a terminal."""

from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.table import Table

from carryflow.features.catalogue import catalogue_rows
from carryflow.market.contracts import ContractTerms
from carryflow.market.ledger import CoverageLedger, name_minute
from carryflow.store.freshness import FeatureAge


def coverage_table(ledgers: Iterable[CoverageLedger]) -> Table:
    """Count what each ticker's bars hold, with the funding interval as it changed in time."""
    table = Table(title="coverage", box=box.ROUNDED, title_justify="left")
    for name in ("coin", "from", "to"):
        table.add_column(name)
    for name in ("bars", "no spot", "no mark", "settlements", "holes"):
        table.add_column(name, justify="right")
    table.add_column("funding interval")
    for ledger in ledgers:
        counts = (ledger.bars, len(ledger.halted_ms), ledger.unpublished_marks, ledger.settlements)
        table.add_row(
            ledger.ticker,
            name_minute(ledger.start_ms),
            name_minute(ledger.end_ms),
            *(str(count) for count in counts),
            f"[red]{len(ledger.holes)}[/red]" if ledger.holes else "0",
            ", ".join(f"{s.settlements} × {s.interval_hours:g} h" for s in ledger.segments),
        )
    return table


def gaps_table(ledgers: Iterable[CoverageLedger]) -> Table:
    """List everything that is absent, gaps with their reason and holes in red."""
    table = Table(title="what is absent", box=box.ROUNDED, title_justify="left")
    for name in ("coin", "leg", "what", "from", "to"):
        table.add_column(name)
    table.add_column("rows", justify="right")
    table.add_column("why", overflow="fold")
    for ledger in ledgers:
        for style, absences in ((None, ledger.gaps), ("red", ledger.holes)):
            for absence in absences:
                table.add_row(
                    ledger.ticker,
                    absence.leg,
                    absence.kind,
                    name_minute(absence.start_ms),
                    name_minute(absence.end_ms),
                    str(absence.count),
                    absence.reason,
                    style=style,
                )
    return table


def contracts_table(terms: Sequence[ContractTerms]) -> Table:
    """List contract terms as the venue stated them, the newest of each contract last."""
    table = Table(title="contract terms", box=box.ROUNDED, title_justify="left")
    for name in ("symbol", "type", "known at"):
        table.add_column(name)
    for name in ("size", "tick", "lot", "least notional", "maker", "taker", "interval"):
        table.add_column(name, justify="right")
    for entry in terms:
        contract = entry.instrument
        interval = entry.funding_interval_hours
        table.add_row(
            contract.symbol,
            contract.type.value,
            name_minute(entry.known_at_ms),
            *(f"{value:f}" for value in (contract.contract_size, contract.tick, contract.lot)),
            f"{contract.min_notional:f}",
            f"{entry.maker_fee:.4%}",
            f"{entry.taker_fee:.4%}",
            "" if interval is None else f"{interval:g} h",
        )
    return table


def catalogue_table(chosen: Sequence[str]) -> Table:
    """Print the catalogue of features; those of the model are marked."""
    table = Table(title="features (● seen by the model)", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("")
    table.add_column("feature", no_wrap=True)
    table.add_column("unit, sign", max_width=28, overflow="fold")
    table.add_column("formula, source", overflow="fold")
    table.add_column("max age", justify="right", no_wrap=True)
    for row in catalogue_rows():
        table.add_row(
            "●" if row["name"] in chosen else "",
            row["name"],
            f"{row['unit']}\n[dim]{row['sign']}[/dim]",
            f"{row['formula']}\n[dim]{row['source']} · {row['known']}[/dim]",
            f"{row['max_age_hours']} h",
        )
    return table


def ages_table(ages: Mapping[str, Sequence[FeatureAge]]) -> Table:
    """Say how old each coin's features are, those of equal age together; red where they are too old."""
    table = Table(title="newest features online", box=box.ROUNDED, title_justify="left")
    table.add_column("coin")
    table.add_column("age", justify="right")
    table.add_column("at most", justify="right")
    table.add_column("features", overflow="fold")
    for ticker, own in ages.items():
        alike: dict[tuple[int, int], list[str]] = {}
        for age in own:
            alike.setdefault((age.age_ms, age.bound.limit_ms), []).append(age.bound.name)
        for (age_ms, limit_ms), names in alike.items():
            style = "red" if age_ms > limit_ms else None
            table.add_row(
                ticker, f"{age_ms / 3.6e6:.1f} h", f"{limit_ms / 3.6e6:g} h", ", ".join(names), style=style
            )
    return table
