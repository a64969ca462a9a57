"""Which features are read together, and by whom."""

from collections.abc import Sequence

from feast import Entity, FeatureService, FeatureView

from feature_repo.entities import ticker
from feature_repo.sources import features_source, windows_source
from feature_repo.views import carry_features, carry_window

POLICY_SERVICE = "carry_policy"
DECISION_SERVICE = "carry_decision"


def define(home: str, names: Sequence[str]) -> list[Entity | FeatureView | FeatureService]:
    """Define the whole repository for a home and the features of a spec."""
    entity = ticker()
    features = carry_features(entity, features_source(home), names)
    window = carry_window(entity, windows_source(home))
    return [
        entity,
        features,
        window,
        FeatureService(
            name=POLICY_SERVICE,
            features=[features],
            description="What a policy learns from: historical rows, joined as of their hour",
        ),
        FeatureService(
            name=DECISION_SERVICE,
            features=[window],
            description="What a policy decides on: the newest window of a ticker, read online",
        ),
    ]
