"""Publication: a frame's rows go into the history, the newest of them online, for every spec they feed."""

import hashlib
import json
import logging
import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from carryflow.core.atomic import write_atomically
from carryflow.core.errors import MarketDataError
from carryflow.features.build import CARD as FRAME_CARD
from carryflow.features.build import TABLE, read_spec
from carryflow.features.spec import FeatureSpec
from carryflow.market.store import read_source
from carryflow.store.appending import append_published
from carryflow.store.applied import apply_definitions, registry_stands
from carryflow.store.connection import STORE_VARIABLE, feast_at_work, store_config
from carryflow.store.feeding import specs_of_frame, specs_of_rows
from carryflow.store.filling import fill_online
from carryflow.store.history import published_rows
from carryflow.store.online_marks import marks_hold
from carryflow.store.published import (
    OFFLINE_VARIABLE,
    PublishedCard,
    processed_dir,
    published_location,
    published_specs,
    published_versions,
    read_card,
    record_version,
    store_lock,
    write_card,
)
from carryflow.store.tables import is_remote
from feature_repo import FEATURES_FILE, WINDOWS_FILE

log = logging.getLogger("carryflow.store")


def publish(
    frame_dir: Path,
    home: Path,
    created: datetime | None = None,
    config: Path | None = None,
    venue: str | None = None,
) -> Path:
    """Publish the unified frame: append what is new to Feast's history, apply the repository, fill it online.

    The rows are published for the frame's own spec, and for the spec of every model version whose features
    the frame holds, so that a champion and its challenger stay fresh together. A frame that is published
    already, online too, is not published again, unless `created` says so.

    A frame that ends before the newest one that was published comes late: its values may be those that a
    correction replaced. It only fills in rows that nobody published, so that its own decisions can be joined;
    what is served, and the home's frame, stay the newer one's, and the log says so. `created` makes it count
    as a correction, like any other frame.

    Args:
        frame_dir: folder that `build_features` wrote to.
        home: folder whose store is filled. The frame goes to its `data/processed`, the history to `feast`
            there or to `CARRYFLOW_OFFLINE`.
        created: when new and changed rows count as published (UTC), now by default.
        config: Feast configuration, the embedded one by default.
        venue: where the bars come from; by default what the home's market was fetched from.

    Returns:
        The folder of what was published.

    Raises:
        MarketDataError: there is no frame, a ticker has no full window, the home holds another venue, or
            nobody says which venue the bars are of.
        SettingsError: the online store kept older values than those written to it.
    """
    own = read_spec(frame_dir)  # says what is missing, where there is no frame
    stamp = _stamp(frame_dir, config)
    with store_lock(home):
        specs = specs_of_frame(home, frame_dir)
        stands = _holds_frame(processed_dir(home), frame_dir) and _registry_stands(home, config)
        if created is None and stands and all(_stands(home, spec, stamp, config) for spec in specs):
            return processed_dir(home)
        table, version = pl.scan_parquet(frame_dir / TABLE), _market_version(frame_dir)
        venue = venue or _source_venue(home)
        cards, keeps_frame = [], False
        for spec in specs:
            rows = published_rows(table, spec, venue)
            card, ends_ms = _card_before(home, spec, venue), _newest_ms(rows)
            is_late = created is None and ends_ms < card.frame_end_ms
            if is_late:
                log.warning(
                    "the frame in %s ends at %s, before what was published: rows that are not published yet "
                    "are filled in, and the newer frame stays",
                    frame_dir,
                    _utc(ends_ms),
                )
            else:
                card = replace(
                    card,
                    tickers=tuple(rows.select(pl.col("ticker").unique().sort()).collect().to_series()),
                    stamp=stamp,
                    market_version=version,
                    end_ms=max(ends_ms, card.pushed_ms),
                    frame_end_ms=ends_ms,
                )
            cards.append(card)
            append_published(home, card, rows, created, only_unpublished=is_late)
            keeps_frame |= spec == own and not is_late
        if keeps_frame:
            _keep_frame(frame_dir, processed_dir(home))
        fill_online(home, cards, config)
    return processed_dir(home)


def push_rows(
    rows: pl.DataFrame, home: Path, created: datetime | None = None, config: Path | None = None
) -> None:
    """Push the newest rows of a stream, offline and online: one or more bars of any tickers, in time order.

    What was published before the stream began must reach up to its first bar. Every published spec takes them
    whose features they hold, by the formulas of this code and of bars as long.

    Args:
        rows: rows in the columns of the unified frame, as `features.stream` gives them.
        home: folder whose store takes them.
        created: when they count as published (UTC), now by default.
        config: Feast configuration, the embedded one by default.

    Raises:
        MarketDataError: no published spec takes the rows, or bars between what was published and these are
            missing.
        SettingsError: the online store kept older values than those written to it.
    """
    with store_lock(home):
        cards = []
        for spec in specs_of_rows(home, rows):
            card = _card_before(home, spec, None)
            told = published_rows(rows.lazy(), spec, card.venue)
            newest_ms = _newest_ms(told)
            cards.append(
                replace(
                    card,
                    tickers=tuple(sorted({*card.tickers, *rows["Ticker"]})),
                    stamp="",  # a frame that is published next may say otherwise of the rows that were pushed
                    end_ms=max(newest_ms, card.end_ms),
                    pushed_ms=max(newest_ms, card.pushed_ms),
                )
            )
            append_published(home, cards[-1], told, created)
        fill_online(home, cards, config)


def serve_version(home: Path, version: str, spec: FeatureSpec, config: Path | None = None) -> None:
    """Give a model version its own feature service; from then on a publication feeds its spec, too.

    Doing it again changes nothing, and makes good what a killed process or a lost registry left: the version
    is recorded when its service is there.

    Raises:
        SchemaMismatchError: the version is known to read another spec.
    """
    with store_lock(home):
        versions = published_versions(home)
        if version in versions:
            versions[version].require(spec.hash, f"version {version}")
            if _registry_stands(home, config):
                return
        with feast_at_work():
            apply_definitions(home, published_specs(home), versions | {version: spec}, config)
        record_version(home, version, spec)


def _card_before(home: Path, spec: FeatureSpec, venue: str | None) -> PublishedCard:
    """Give the card that a publication starts from, and keep on disk that it is not finished.

    Raises:
        MarketDataError: the home publishes another venue.
    """
    card = read_card(home, spec.hash)
    if card is None:
        return PublishedCard(spec=spec, venue=str(venue), tickers=(), stamp="", market_version="", end_ms=0)
    if venue not in {None, card.venue}:
        raise MarketDataError(
            f"{home} publishes features of {card.venue}, and {venue} must not be mixed in; choose another "
            "home (-o home=…)"
        )
    write_card(home, replace(card, stamp="", online={}))
    return card


def _stands(home: Path, spec: FeatureSpec, stamp: str, config: Path | None) -> bool:
    """Say whether this very frame is published for a spec: in the history and online."""
    card = read_card(home, spec.hash)
    folder = published_location(home)
    files = [Path(folder, spec.hash, name) for name in (FEATURES_FILE, WINDOWS_FILE) if not is_remote(folder)]
    return (
        card is not None
        and card.stamp == stamp
        and all(file.is_file() for file in files)
        and marks_hold(card.online, spec, store_config(config))
    )


def _registry_stands(home: Path, config: Path | None) -> bool:
    return registry_stands(home, published_specs(home), published_versions(home), config)


def _keep_frame(frame_dir: Path, folder: Path) -> None:
    """Copy a frame; its card goes first and comes last, as when it is built."""
    if frame_dir.resolve() == folder.resolve():
        return
    (folder / FRAME_CARD).unlink(missing_ok=True)
    for name in (TABLE, FRAME_CARD):
        with write_atomically(folder / name) as temporary:
            shutil.copyfile(frame_dir / name, temporary)


def _holds_frame(folder: Path, frame_dir: Path) -> bool:
    """Say whether a folder holds the frame of another, by the card that vouches for it."""
    cards = [one / FRAME_CARD for one in (folder, frame_dir)]
    return all(card.is_file() for card in cards) and cards[0].read_bytes() == cards[1].read_bytes()


def _source_venue(home: Path) -> str:
    folder = home / "data" / "crypto"
    source = read_source(folder)
    if source is None:
        raise MarketDataError(
            f"{folder} does not say which venue its bars are of; fetch into it, or name the venue"
        )
    return source.venue


def _newest_ms(rows: pl.LazyFrame) -> int:
    return int(rows.select(pl.col("event_timestamp").max().dt.epoch("ms")).collect().item())


def _utc(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def _market_version(frame_dir: Path) -> str:
    return str(json.loads((frame_dir / FRAME_CARD).read_text())["market_version"])


def _stamp(frame_dir: Path, config: Path | None) -> str:
    """Name the content of a frame, and the store that it goes to."""
    digests = []
    for name in (TABLE, FRAME_CARD):
        with (frame_dir / name).open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    content = hashlib.sha256("".join(digests).encode()).hexdigest()
    where = [os.environ.get(name, "") for name in (STORE_VARIABLE, OFFLINE_VARIABLE, "CARRYFLOW_REDIS")]
    told = hashlib.sha256(repr((str(config or ""), *where)).encode())  # may hold a password
    return f"{content[:32]} {told.hexdigest()[:16]}"
