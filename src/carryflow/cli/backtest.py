"""The command that trades recorded hours with a policy and says what came of it, part by part."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from carryflow.cli.app import app, console
from carryflow.cli.options import Config, Override, Since, Tickers, Until, resolve
from carryflow.core.errors import MarketDataError, SettingsError

if TYPE_CHECKING:
    import polars as pl

    from carryflow.agents.bundle import Bundle
    from carryflow.env.tape import MarketTape
    from carryflow.evaluation.hours import Hours
    from carryflow.evaluation.metrics import Metrics
    from carryflow.settings import Settings

POLICIES = ("always_hedged", "threshold_carry", "flat")
BUNDLE = "bundle"

_PARTS = ("funding", "basis", "fees", "slippage", "borrow", "liquidation")


@app.command()
def backtest(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Folder of spot_*.parquet and perp_*.parquet; by default the home's."),
    ] = None,
    tickers: Tickers = None,
    since: Since = None,
    until: Until = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(help=f"One of {', '.join(POLICIES)}; may be repeated; by default the first."),
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Folder of a trained bundle: trade with it, scaled as it was trained.")
    ] = None,
    seen: Annotated[
        bool, typer.Option("--seen", help="Let the bundle trade hours that it was trained on.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="File for every hour of every account (Parquet).")] = None,
    config: Config = None,
    override: Override = None,
) -> None:
    """Trade recorded hours, coin by coin, and split what came of it: funding, basis, fees, liquidation.

    Margin is judged on hourly marks: a wick within an hour liquidates nobody.
    """
    settings = resolve(config, override, tickers=tickers, since=since, until=until)
    settings.require_hourly()
    names = tuple(dict.fromkeys(policy or ([] if bundle else POLICIES[:1])))
    for name in names:
        if name not in POLICIES:
            said = f"--policy {name} is none of" if name else "--policy names nothing; choose one of"
            raise SettingsError(f"{said} {', '.join(POLICIES)}; --bundle FOLDER trades with a trained one")
    if seen and bundle is None:
        raise SettingsError(
            "--seen is about hours that a bundle was trained on; name one with --bundle FOLDER"
        )
    ledgers = {}
    for name, ledger, hours in _trade(settings, folder or settings.market_dir, names, bundle, seen=seen):
        ledgers[name] = ledger
        _print_table(name, ledger)
        console.print(_traded(hours, settings), soft_wrap=True)
    if out is not None:
        _write(out, ledgers)


def _trade(
    settings: "Settings", folder: Path, names: Sequence[str], bundle_dir: Path | None, *, seen: bool
) -> "Iterator[tuple[str, pl.DataFrame, Hours]]":
    """Let each policy trade; give its name, its ledger and the hours it had."""
    from carryflow.evaluation.backtest import backtest as play
    from carryflow.evaluation.baselines import ThresholdCarry
    from carryflow.evaluation.hours import AS_IT_IS, CARRY, PRICES, Eyes, read_hours
    from carryflow.evaluation.replay import replay

    data, env = settings.data, settings.env
    for name in names:
        if name == "threshold_carry":
            limits = settings.evaluation
            threshold = ThresholdCarry(CARRY, AS_IT_IS, limits.carry_enter_apr, limits.carry_exit_apr)
            hours = read_hours(folder, data, Eyes(CARRY, AS_IT_IS))
            yield name, play(hours.tapes, threshold, env, 0, 2**62), hours
        else:
            hours = read_hours(folder, data, Eyes(PRICES, None))
            targets = _constant(hours.tapes, 0.0 if name == "flat" else 1.0)
            yield name, replay(hours.tapes, targets, env).ledger, hours
    if bundle_dir is not None:
        from carryflow.agents.bundle import load_bundle
        from carryflow.features.scaling import Scaler

        bundle = load_bundle(bundle_dir)
        hours = read_hours(folder, data, Eyes(bundle.spec, Scaler.from_json(bundle.scaler)))
        if not seen:
            _require_unseen(bundle, hours.tapes)
        yield BUNDLE, play(hours.tapes, bundle.decide, env, 0, 2**62, experts=bundle.experts), hours


def _constant(tapes: "Sequence[MarketTape]", target: float) -> "list[list[float]]":
    return [[target] * len(tapes)] * (len(tapes[0]) - tapes[0].first)


def _require_unseen(bundle: "Bundle", tapes: "Sequence[MarketTape]") -> None:
    """Refuse hours that the bundle was trained on.

    Raises:
        MarketDataError: a decision lies among those of its training.

    """
    from carryflow.evaluation.formats import format_hour
    from carryflow.market.timeframe import HOUR_MS

    trained = bundle.metadata
    first_ms, last_ms = int(tapes[0].decision_ms[tapes[0].first]), int(tapes[0].decision_ms[-1])
    if first_ms <= trained.train_end_ms and trained.train_start_ms <= last_ms:
        raise MarketDataError(
            f"bundle {bundle.hash} was trained from {format_hour(trained.train_start_ms)} to "
            f"{format_hour(trained.train_end_ms)}, and these hours begin {format_hour(first_ms)}: it would "
            "be scored on hours that it has seen; choose a later --since, such as "
            f"{format_hour(trained.train_end_ms + HOUR_MS)[:16].replace(' ', 'T')}, or say --seen"
        )


def _print_table(name: str, ledger: "pl.DataFrame") -> None:
    """Print what each coin's account made, and all of them together: upright, lying, or beyond the edge.

    A number is never cut: a table that fits neither way is printed at its own width.
    """
    import polars as pl

    from carryflow.evaluation.ledgers import score

    scored = score(ledger)
    trades = {
        str(ticker): int((account["traded"] > 0).sum()) for (ticker,), account in ledger.group_by("ticker")
    }
    liquidated = set(ledger.filter(pl.col("liquidated"))["ticker"])
    rows = {
        f"{ticker}*" if ticker in liquidated else ticker: _cells(metrics, trades[ticker])
        for ticker, metrics in scored.tickers.items()
    }
    if len(rows) > 1:
        rows["all"] = _cells(scored.portfolio, sum(trades.values()))
    headings = ("return", "profit", *_PARTS, "drawdown", "trades")
    said = [k for k in range(len(headings)) if headings[k] not in _PARTS or not _all_zero(rows, k)]
    upright = [["coin", *(headings[k] for k in said)]]
    upright += [[coin, *(cells[k] for k in said)] for coin, cells in rows.items()]
    title = name.replace("_", " ")
    tables = [_table(title, upright), _table(title, [list(line) for line in zip(*upright, strict=True)])]
    widths = [
        console.measure(table, options=console.options.update(width=10_000)).maximum for table in tables
    ]
    chosen = 1 if widths[1] <= console.width < widths[0] else 0
    tables[chosen].width = widths[chosen]
    console.print(tables[chosen], crop=False)
    if liquidated:
        console.print("* liquidated, judged on the hourly marks; it rested from then on", soft_wrap=True)


def _all_zero(rows: "dict[str, tuple[str, ...]]", column: int) -> bool:
    return all(cells[column] in ("+0", "-0") for cells in rows.values())


def _table(title: str, lines: "list[list[str]]") -> Table:
    table = Table(
        title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False, collapse_padding=True
    )
    for place, heading in enumerate(lines[0]):
        table.add_column(heading, justify="right" if place else "left", no_wrap=True)
    for line in lines[1:]:
        table.add_row(*line, end_section=line is lines[-2])
    return table


def _cells(metrics: "Metrics", trades: int) -> tuple[str, ...]:
    return (
        f"{metrics.return_total:+.2%}",
        f"{metrics.pnl_quote:+,.0f}",
        *(f"{getattr(metrics.split, part):+,.0f}" for part in _PARTS),
        f"{metrics.max_drawdown:.2%}",
        f"{trades}",
    )


def _traded(hours: "Hours", settings: "Settings") -> str:
    """Say which hours were traded, with what, and why not all that were asked for."""
    from carryflow.evaluation.formats import format_hour
    from carryflow.market.data import to_ms
    from carryflow.market.timeframe import HOUR_MS

    tape, start, end = hours.tapes[0], settings.data.start, settings.data.end
    first_ms, last_ms = int(tape.decision_ms[tape.first]), int(tape.decision_ms[-1])
    said = (
        f"traded {format_hour(first_ms)} to {format_hour(last_ms)}, {settings.env.capital_quote:,.0f} "
        f"{settings.data.quote} a coin; return is on that capital, every position was closed at the end"
    )
    if start is not None and first_ms > to_ms(start) + HOUR_MS:
        said += (
            f"; not from {format_hour(to_ms(start))}: the recording of {hours.last_to_begin} begins too late "
            "for the hours that a first decision looks back on"
        )
    if end is not None and last_ms < to_ms(end) - HOUR_MS:
        said += f"; not to {format_hour(to_ms(end))}: the recording of {hours.first_to_end} ends before"
    return said


def _write(path: Path, ledgers: "dict[str, pl.DataFrame]") -> None:
    import polars as pl

    from carryflow.core.atomic import write_atomically

    table = pl.concat(
        [ledger.with_columns(pl.lit(name).alias("policy")) for name, ledger in ledgers.items()],
        how="diagonal",
    )
    try:
        with write_atomically(path) as temporary:
            table.write_parquet(temporary)
    except OSError as error:
        raise SettingsError(f"cannot write {path}: {error.strerror}; name another file with --out") from None
    console.print(f"ledger: {path}", soft_wrap=True)
