"""Which features are read together, and by whom."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from feast import Entity, FeatureService, FeatureView, OnDemandFeatureView

from carryflow.features.spec import FeatureSpec
from feature_repo import training_service, version_service
from feature_repo.entities import ticker, venue
from feature_repo.on_demand import CARRY, carry_position
from feature_repo.sources import features_source, position_request, pushed, windows_source
from feature_repo.views import carry_features, carry_market, carry_window, features_view, window_view

Definition = Entity | FeatureView | OnDemandFeatureView | FeatureService


@dataclass(frozen=True)
class _Views:
    """Hold what one spec publishes."""

    features: FeatureView
    market: FeatureView
    window: FeatureView


def define(
    location: str, specs: Iterable[FeatureSpec], versions: Mapping[str, FeatureSpec]
) -> list[Definition]:
    """Define the whole repository.

    Args:
        location: folder, or s3:// prefix, of what is published.
        specs: feature specs that are published there.
        versions: spec of each model version that is served; it need not be published yet.
    """
    entities = [ticker(), venue()]
    request = position_request()
    definitions: list[Definition] = [*entities]
    views: dict[str, _Views] = {}
    for spec in {spec.hash: spec for spec in (*specs, *versions.values())}.values():
        rows, windows = features_source(location, spec.hash), windows_source(location, spec.hash)
        own = _Views(
            features=carry_features(entities, pushed(features_view(spec.hash), rows), spec),
            market=carry_market(entities, rows, spec),
            window=carry_window(entities, pushed(window_view(spec.hash), windows), spec),
        )
        views[spec.hash] = own
        definitions += [own.features, own.market, own.window]
        if CARRY in spec.published:
            definitions.append(carry_position(own.features, request, spec))
        definitions.append(
            FeatureService(
                name=training_service(spec.hash),
                features=[own.features, own.market],
                description="What a policy learns from: historical rows, joined as of their hour",
            )
        )
    definitions += [
        FeatureService(
            name=version_service(version),
            features=[views[spec.hash].window],
            description="What a model version decides on: the newest window of a ticker, read online",
            tags={"version": version, "spec_hash": spec.hash},
        )
        for version, spec in versions.items()
    ]
    return definitions
