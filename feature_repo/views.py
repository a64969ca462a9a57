"""What is known of a ticker at a venue and a bar: its features, its prices, the window that ends there."""

from datetime import timedelta

from feast import Entity, FeatureView, Field, FileSource, PushSource
from feast.types import Array, Bool, Float32, Float64, Int64, String, UnixTimestamp

from carryflow.features.spec import FeatureSpec
from feature_repo import features_view, market_view, window_view

LONGEST_BAR = timedelta(hours=1)
"""Age at which a value is no longer the newest, at the longest bar that features are made of. Feast enforces
it in historical joins, its bound included, and not online: whoever reads compares the row's own clocks."""

KEYS = (Field(name="ticker", dtype=String), Field(name="venue", dtype=String))

CLOCKS = tuple(
    Field(name=name, dtype=Int64) for name in ("known_at_ms", "funding_known_at_ms", "sentiment_known_at_ms")
)
"""When the bar, the newest settlement and the newest mood in a row were known (UTC, milliseconds)."""

MARKET = (
    Field(name="Date", dtype=UnixTimestamp),
    *(
        Field(name=name, dtype=Float64)
        for name in ("SpotPrice", "PerpPrice", "MarkPrice", "SettleMark", "FundingRate")
    ),
    Field(name="Tradable", dtype=Bool),
)


def carry_features(entities: list[Entity], source: PushSource, spec: FeatureSpec) -> FeatureView:
    """Give the published features of one bar, in the order of the spec, as float32, and their clocks."""
    return FeatureView(
        name=features_view(spec.hash),
        description="Model features of one bar, known at its close, not scaled",
        entities=entities,
        ttl=LONGEST_BAR,
        schema=[*KEYS, *CLOCKS, *(Field(name=name, dtype=Float32) for name in spec.published)],
        source=source,
        online=True,
    )


def carry_market(entities: list[Entity], source: FileSource, spec: FeatureSpec) -> FeatureView:
    """Give the prices and the settlement of one bar, as they stood when its features were published."""
    return FeatureView(
        name=market_view(spec.hash),
        description="Prices at the bar's close, and the settlement at its open",
        entities=entities,
        ttl=LONGEST_BAR,
        schema=[*KEYS, *MARKET],
        source=source,
        online=False,
    )


def carry_window(entities: list[Entity], source: PushSource, spec: FeatureSpec) -> FeatureView:
    """Give the flattened window of the newest bars, oldest first, with the spec that says how to read it."""
    return FeatureView(
        name=window_view(spec.hash),
        description="Window of model features that ends at this bar, flattened in C order, not scaled",
        entities=entities,
        ttl=LONGEST_BAR,
        schema=[
            *KEYS,
            *CLOCKS,
            Field(name="window", dtype=Array(Float32)),
            Field(name="spec", dtype=String),
            Field(name="spec_hash", dtype=String),
        ],
        source=source,
        online=True,
    )
