"""The search for look-ahead in a home's market: our features, what is learned, or a user's own feature."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from carryflow.core.leg import LEGS
from carryflow.env.settings import EnvSettings
from carryflow.env.simulator import HedgedSimulator
from carryflow.env.tape import tape_of
from carryflow.features.audit import audit_dataset, audit_features
from carryflow.features.catalogue import CATALOGUE
from carryflow.features.causality import Leak
from carryflow.features.custom import CustomFeature
from carryflow.features.dataset import Dataset
from carryflow.features.sentiment import read_sentiment
from carryflow.features.spec import SENTIMENT_FEATURE
from carryflow.market.data import to_ms
from carryflow.market.schema import BOOK_COLUMNS
from carryflow.market.store import read_leg
from carryflow.settings import Settings


@dataclass(frozen=True, slots=True)
class Audit:
    """Say what was tried on one ticker, and the leaks that were found."""

    ticker: str
    tried: tuple[str, ...]
    leaks: tuple[Leak, ...]


def audit_market(settings: Settings, ticker: str, own: Mapping[str, CustomFeature] | None) -> Audit:
    """Try a user's own features on one ticker of a home, or else catalogue, scaler, windows and observations.

    Features of recorded books are tried where the books were recorded in every bar.

    Raises:
        SettingsError: a user's function is no feature.
        MarketDataError: the ticker is not there, or its bars cannot be used.
    """
    data = settings.data
    start_ms, end_ms = (None if at is None else to_ms(at) for at in (data.start, data.end))
    spot, perp = (
        read_leg(settings.market_dir, leg, ticker, start_ms, end_ms, data.timeframe) for leg in LEGS
    )
    sentiment = read_sentiment(data.sentiment) if data.sentiment else None
    generator = np.random.default_rng(settings.seed)
    if own is not None:
        leaks = audit_features(own, spot, perp, ticker, data, generator, sentiment=sentiment)
        return Audit(ticker, tuple(own), tuple(leaks))
    watched = not any(leg[column].null_count() for leg in (spot, perp) for column in BOOK_COLUMNS)
    ours: dict[str, CustomFeature] = {
        name: feature.compute
        for name, feature in CATALOGUE.items()
        if feature.compute is not None
        and (watched or not feature.recorded)
        and (sentiment is not None or name != SENTIMENT_FEATURE)
    }
    leaks = audit_features(ours, spot, perp, ticker, data, generator, sentiment=sentiment)
    leaks += audit_dataset(
        spot,
        perp,
        ticker,
        data,
        settings.features,
        settings.split,
        generator,
        sentiment=sentiment,
        observe=_observe,
    )
    return Audit(ticker, (*ours, "scaler", "window", "observation"), tuple(leaks))


def _observe(dataset: Dataset, ticker: str) -> Mapping[str, NDArray[np.generic]]:
    """Give what an account without a position observes; one with a position also sees its funding booked."""
    tape = tape_of(dataset, ticker)
    account = HedgedSimulator([tape], 1, EnvSettings())
    account.reset(0, 0, tape.first)
    seen = [account.observe()[0].copy()]
    for _ in range(tape.first, len(tape) - 1):
        account.step([0.0])
        seen.append(account.observe()[0].copy())
    return {"observation": np.stack(seen)}
