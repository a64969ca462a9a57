"""The commands over features: what there is, building them, and trying them for look-ahead; and windows."""

from typing import Annotated

import typer

from carryflow.cli.app import console, group
from carryflow.cli.options import Bars, Config, Override, Since, Tape, Tickers, Until, Venue, resolve
from carryflow.core.errors import MarketDataError

features_app = group("features", "Features: the catalogue, the unified frame, the search for look-ahead.")
windows_app = group("windows", "Windows of scaled features, as training reads them.")


@features_app.command("list")
def list_features(
    config: Config = None,
    override: Override = None,
) -> None:
    """Print the catalogue: unit, sign, formula and source of every feature; ● marks what the model sees."""
    from carryflow.cli.tables import catalogue_table

    console.print(catalogue_table(resolve(config, override).features.names))


@features_app.command("build")
def build(
    config: Config = None,
    override: Override = None,
    tape: Tape = None,
    tickers: Tickers = None,
    since: Since = None,
    until: Until = None,
    venue: Venue = None,
    timeframe: Bars = None,
    ray: Annotated[
        bool, typer.Option("--ray", help="One partition a ticker on Ray; RAY_ADDRESS names a cluster.")
    ] = False,
) -> None:
    """Build the unified frame of the fetched bars, each ticker for itself."""
    import polars as pl

    from carryflow.features.build import build_features, read_spec

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
    if ray:
        from carryflow.training.partitions import ray_map as each
    else:
        each = map  # type: ignore[assignment]
    path = build_features(settings.market_dir, settings.frame_dir, settings.data, settings.features, each)
    spec, rows = read_spec(settings.frame_dir), pl.scan_parquet(path).select(pl.len()).collect().item()
    console.print(
        f"{rows} rows of {len(settings.data.tickers)} coins, {len(spec.published)} features, "
        f"spec {spec.hash}: {path}",
        soft_wrap=True,
    )


@features_app.command("audit")
def audit(
    feature: Annotated[
        str | None,
        typer.Argument(
            help="A feature of your own, such as my_features.py:fast_basis; by default all of ours."
        ),
    ] = None,
    config: Config = None,
    override: Override = None,
    tape: Tape = None,
    tickers: Tickers = None,
    since: Since = None,
    until: Until = None,
    venue: Venue = None,
    timeframe: Bars = None,
) -> None:
    """Cut and redraw the future of the fetched bars, and demand that nothing before it moves by a bit."""
    from carryflow.cli.audit import audit_market
    from carryflow.features.custom import load_feature

    own = None if feature is None else dict([load_feature(feature)])
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
    leaks = []
    for ticker in settings.data.tickers:
        found = audit_market(settings, ticker, own)
        console.print(f"{ticker}: tried {', '.join(found.tried)}", soft_wrap=True)
        leaks += [f"{leak.column} of {ticker} at {leak.date:%Y-%m-%d %H:%M}" for leak in found.leaks]
    if leaks:
        raise MarketDataError(
            f"look-ahead: {', '.join(dict.fromkeys(leaks))} changed when only later bars did; a feature may "
            "use bars up to its own, and settlements stamped at or before its bar's open"
        )
    console.print(
        "no look-ahead: with the future cut off or redrawn, every value stayed the same to the last bit"
    )


@windows_app.command("build")
def build_windows(
    config: Config = None,
    override: Override = None,
    tape: Tape = None,
    venue: Venue = None,
    timeframe: Bars = None,
    export: Annotated[
        bool, typer.Option("--export", help="Also write every window out as one .npy, for other tools.")
    ] = False,
) -> None:
    """Split and scale the built frame into the series that training maps into memory."""
    from carryflow.features import windows
    from carryflow.features.build import read_frame
    from carryflow.features.dataset import split_rows, write_dataset

    settings = resolve(config, override, tape=tape, venue=venue, timeframe=timeframe)
    frame = read_frame(settings.frame_dir)
    parts = split_rows(frame.table, settings.split, frame.spec.lookback)
    write_dataset(frame.table, frame.spec, parts, frame.market_version, settings.dataset_dir)
    built = windows.build_windows(
        settings.dataset_dir, settings.home_dir / "data" / "processed" if export else None
    )
    counts = ", ".join(f"{ticker} {count}" for ticker, count in built.counts.items())
    bars, features = built.shape
    console.print(
        f"{sum(built.counts.values())} windows of {bars} bars × {features} features ({counts}): "
        f"{built.path}, {built.path.stat().st_size / 1e6:.1f} MB",
        soft_wrap=True,
    )
