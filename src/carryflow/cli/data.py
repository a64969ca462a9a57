"""The commands over the market on disk: what is there, what is missing, and what others recorded."""

from pathlib import Path
from typing import Annotated, TypeVar

import typer

from carryflow.cli.app import console, group
from carryflow.cli.options import Bars, Config, Override, Since, Tape, Tickers, Until, Venue, resolve
from carryflow.core.errors import CoverageError, SettingsError

data_app = group("data", "The market on disk: coverage, contract terms, import of recorded hours.")

Folder = Annotated[
    Path | None, typer.Argument(help="Folder of spot_*.parquet and perp_*.parquet; by default the home's.")
]


@data_app.command("check")
def check(
    folder: Folder = None,
    config: Config = None,
    override: Override = None,
    tape: Tape = None,
    tickers: Tickers = None,
    since: Since = None,
    until: Until = None,
    venue: Venue = None,
    timeframe: Bars = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File for the ledger; by default data/coverage_<folder>.json of the home."),
    ] = None,
) -> None:
    """List every bar, mark and settlement that is absent, and why; fail if the why is unknown."""
    from carryflow.cli.tables import coverage_table, gaps_table
    from carryflow.market.coverage import survey_folder, write_ledger
    from carryflow.market.leg_files import recorded_tickers

    settings = resolve(
        config,
        override,
        tape=tape,
        tickers=tickers,
        since=since,
        until=until,
        venue=venue,
        timeframe=timeframe,
    )
    market = folder or settings.market_dir
    named = settings.data.tickers if tickers else recorded_tickers(market)
    ledgers = survey_folder(market, settings.data.model_copy(update={"tickers": named}))
    path = out or settings.home_dir / "data" / f"coverage_{market.absolute().name}.json"
    write_ledger(path, ledgers)
    console.print(coverage_table(ledgers))
    if any(ledger.gaps or ledger.holes for ledger in ledgers):
        console.print(gaps_table(ledgers))
    console.print(f"ledger: {path}", soft_wrap=True)
    refusals = [ledger.refusal for ledger in ledgers if ledger.holes]
    if refusals:
        raise CoverageError("; ".join(refusals))


@data_app.command("contracts")
def contracts(
    folder: Folder = None,
    config: Config = None,
    override: Override = None,
    tape: Tape = None,
    venue: Venue = None,
    timeframe: Bars = None,
) -> None:
    """Print the contract terms that the venue stated, and since when they are known."""
    from carryflow.cli.tables import contracts_table
    from carryflow.market.contracts import read_contracts

    settings = resolve(config, override, tape=tape, venue=venue, timeframe=timeframe)
    console.print(contracts_table(read_contracts(folder or settings.market_dir)))


@data_app.command("import")
def import_files(
    source: Annotated[Path, typer.Argument(help="File, or folder of files.")],
    kind: Annotated[
        str,
        typer.Option("--format", help="binance (public dumps), freqtrade (feather) or table (CSV, Parquet)."),
    ],
    ticker: Annotated[str | None, typer.Option(help="The coin, where the files do not name it.")] = None,
    leg: Annotated[str | None, typer.Option(help="spot or perp, where the files do not name it.")] = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", help="Column of a table, such as --map volume=Volume_BTC; may be repeated."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Let imported values replace stored ones that they contradict.")
    ] = False,
    config: Config = None,
    override: Override = None,
    timeframe: Bars = None,
    venue: Venue = None,
) -> None:
    """Import recorded bars, marks, funding, depth, checked before the first write, to their venue's home."""
    from carryflow.cli.loop import alone
    from carryflow.core.leg import LEGS
    from carryflow.market.imports.importer import import_market
    from carryflow.market.imports.options import ImportOptions

    settings = resolve(config, override, venue=venue, timeframe=timeframe)
    if settings.home is None and settings.venue.name == "simulated":
        # what others recorded never mixes with the embedded market
        settings = settings.model_copy(
            update={"home": Path("markets", "binance" if kind == "binance" else "imported")}
        )
    options = ImportOptions(
        format=_one_of("--format", kind, ("binance", "freqtrade", "table")),
        ticker=ticker,
        leg=None if leg is None else _one_of("--leg", leg, LEGS),
        quote=settings.data.quote,
        timeframe=settings.data.timeframe,
        columns=dict(_pair(text) for text in mapping or ()),
        on_conflict="replace" if replace else "refuse",
        venue=venue,
    )
    with alone(settings.home_dir):
        report = import_market(source, settings.market_dir, options)
    console.print(report.words, soft_wrap=True)
    console.print(f"into {settings.market_dir}", soft_wrap=True)


Choice = TypeVar("Choice", bound=str)


def _one_of(option: str, value: str, choices: tuple[Choice, ...]) -> Choice:
    for choice in choices:
        if value == choice:
            return choice
    raise SettingsError(f"{option} {value} is none of {', '.join(choices)}")


def _pair(text: str) -> tuple[str, str]:
    name, equals, column = text.partition("=")
    if not (name and equals and column):
        raise SettingsError(f"--map {text!r} is not of the form name=column, such as volume=Volume_BTC")
    return name, column
