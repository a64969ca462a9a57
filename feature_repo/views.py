"""What is known of a ticker at an hour: its features, and the window that ends there."""

from collections.abc import Sequence
from datetime import timedelta

from feast import Entity, FeatureView, Field, FileSource
from feast.types import Array, Float32, Int64, String

BAR = timedelta(hours=1)
"""Age at which an hourly value is no longer the newest. Feast enforces it in historical joins and not online:
whoever reads online gets `known_at_ms` and compares."""


def carry_features(entity: Entity, source: FileSource, names: Sequence[str]) -> FeatureView:
    """Give the model features of one bar, in the order of the feature spec, as float32."""
    return FeatureView(
        name="carry_features",
        description="Model features of one bar, known at its close, not scaled",
        entities=[entity],
        ttl=BAR,
        schema=[Field(name=name, dtype=Float32) for name in names],
        source=source,
        online=True,
    )


def carry_window(entity: Entity, source: FileSource) -> FeatureView:
    """Give the flattened window of the newest bars, oldest first, with the spec that says how to read it."""
    return FeatureView(
        name="carry_window",
        description="Window of model features that ends at this bar, flattened in C order, not scaled",
        entities=[entity],
        ttl=BAR,
        schema=[
            Field(name="window", dtype=Array(Float32)),
            Field(name="spec", dtype=String),
            Field(name="spec_hash", dtype=String),
            Field(name="known_at_ms", dtype=Int64),
        ],
        source=source,
        online=True,
    )
