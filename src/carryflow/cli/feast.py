"""The commands over the feature store."""

import time
from datetime import datetime
from typing import Annotated

import typer

from carryflow.cli.app import console, group
from carryflow.cli.options import Config, Override, Tape, Venue, resolve
from carryflow.core.errors import SettingsError, StaleFeaturesError

feast_app = group(
    "feast", "The feature store: publish, join as of a day, read what is served and how old it is."
)


@feast_app.command("publish")
def publish(config: Config = None, override: Override = None, tape: Tape = None, venue: Venue = None) -> None:
    """Publish the built frame, offline and online; rows that are published already keep their date."""
    from carryflow.store.feast import publish as publish_frame

    settings = resolve(config, override, tape=tape, venue=venue)
    settings.require_hourly()
    console.print(f"published into {publish_frame(settings.frame_dir, settings.home_dir)}", soft_wrap=True)


@feast_app.command("training-set")
def training_set(
    config: Config = None,
    override: Override = None,
    tape: Tape = None,
    venue: Venue = None,
    as_of: Annotated[
        str | None, typer.Option(help="Only what was published by then, such as 2025-06-01 (UTC).")
    ] = None,
) -> None:
    """Join the published features as of each decision into a dataset, split and scaled."""
    from carryflow.features.dataset import read_dataset
    from carryflow.store.feast import training_set as join

    settings = resolve(config, override, tape=tape, venue=venue)
    settings.require_hourly()
    known_by = None if as_of is None else _moment(as_of)
    join(settings.frame_dir, settings.home_dir, settings.dataset_dir, settings.split, known_by)
    dataset = read_dataset(settings.dataset_dir)
    console.print(
        f"{len(dataset.frame)} rows of {', '.join(dataset.tickers)}, spec {dataset.spec.hash}: "
        f"{settings.dataset_dir}",
        soft_wrap=True,
    )


@feast_app.command("latest")
def latest(
    config: Config = None,
    override: Override = None,
    tape: Tape = None,
    venue: Venue = None,
    version: Annotated[
        str | None, typer.Option(help="Model version whose features are meant, where several are published.")
    ] = None,
) -> None:
    """Read each coin's newest window online, and say how old its features are by the venue's clock."""
    from carryflow.cli.tables import ages_table
    from carryflow.market.store import read_source
    from carryflow.store.feast import OnlineFeatures
    from carryflow.store.freshness import bounds_of, feature_ages, words_on_stale

    settings = resolve(config, override, tape=tape, venue=venue)
    features = OnlineFeatures(settings.home_dir, version)
    source = read_source(settings.market_dir) if settings.venue.name == "simulated" else None
    now_ms = time.time_ns() // 1_000_000 if source is None else source.venue_time_ms
    bounds = bounds_of(features.spec)
    ages = {
        ticker: feature_ages(bounds, features.unaged_window(ticker).clocks, now_ms)
        for ticker in features.tickers
    }
    console.print(ages_table(ages))
    stale = {ticker: words for ticker, own in ages.items() if (words := words_on_stale(own))}
    if stale:
        told = "; ".join(f"{ticker}: {words}" for ticker, words in stale.items())
        raise StaleFeaturesError(f"{told}; fetch, build and publish newer features")


@feast_app.command("services")
def services(
    config: Config = None, override: Override = None, tape: Tape = None, venue: Venue = None
) -> None:
    """List the model versions that have a feature service of their own, and the spec that each reads."""
    from carryflow.store.feast import published_versions

    settings = resolve(config, override, tape=tape, venue=venue)
    for version, spec in published_versions(settings.home_dir).items():
        console.print(f"{version}: spec {spec.hash}, {len(spec.published)} features × {spec.lookback} bars")


def _moment(text: str) -> datetime:
    """Read a day or an instant; one without a zone is UTC."""
    from carryflow.market.data import utc

    try:
        return utc(datetime.fromisoformat(text))
    except ValueError:
        raise SettingsError(
            f"--as-of {text!r} is no instant, such as 2025-06-01 or 2025-06-01T12:00"
        ) from None
