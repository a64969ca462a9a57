"""The online store, filled from the published tables and read back: only then does a card vouch for it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from carryflow.core.errors import MarketDataError, SettingsError
from carryflow.store.applied import apply_definitions
from carryflow.store.connection import feast_at_work, open_store
from carryflow.store.history import CLOCKS, served_rows
from carryflow.store.online_marks import online_marks
from carryflow.store.published import (
    PublishedCard,
    published_location,
    published_specs,
    published_versions,
    write_card,
)
from carryflow.store.tables import scan_table
from feature_repo import FEATURES_FILE, WINDOWS_FILE, features_view, push_source, window_view

if TYPE_CHECKING:
    from feast import FeatureStore


def fill_online(home: Path, cards: Sequence[PublishedCard], config: Path | None) -> None:
    """Apply the repository and fill the online store; the cards come last, and vouch for both."""
    with feast_at_work():
        specs = (*published_specs(home), *(card.spec for card in cards))
        apply_definitions(home, specs, published_versions(home), config)
        store = open_store(home, config)
        for card in cards:
            _fill(home, store, card)
        for card in cards:
            marks = online_marks(store, card.spec, card.venue, card.tickers)
            write_card(home, replace(card, online=marks))


def _fill(home: Path, store: "FeatureStore", card: PublishedCard) -> None:
    """Push the newest row and the newest window of each ticker online, and read the windows back.

    Raises:
        SettingsError: the online store did not take them.
    """
    from feast.data_source import PushMode

    folder = f"{published_location(home)}/{card.spec.hash}"
    for name, view in (
        (FEATURES_FILE, features_view(card.spec.hash)),
        (WINDOWS_FILE, window_view(card.spec.hash)),
    ):
        table = scan_table(f"{folder}/{name}")
        if table is None:
            raise MarketDataError(f"{folder}/{name} is gone; publish again")
        newest = served_rows(table, card.tickers, card.end_ms, bars=1)
        told = newest.to_pandas()
        for _, clock in CLOCKS.values():  # pandas makes floats of whole numbers beside a null
            told[clock] = np.array(newest[clock].to_list(), dtype=object)
        store.push(push_source(view), told, to=PushMode.ONLINE)
    _require_taken(store, view, newest)


def _require_taken(store: "FeatureStore", view: str, newest: pl.DataFrame) -> None:
    asked = newest.select("ticker", "venue").to_dicts()
    held = store.get_online_features(features=[f"{view}:window"], entity_rows=asked).to_dict()["window"]
    for row, window, written in zip(asked, held, newest["window"], strict=True):
        if not np.array_equal(np.asarray(window, np.float32), written.to_numpy(), equal_nan=True):
            raise SettingsError(
                f"the online store kept an older window of {row['ticker']} at {row['venue']} than the one "
                "written to it; a Redis needs `skip_dedup: true` in its Feast configuration, as in "
                "feature_store.production.yaml"
            )
