"""What `feast apply` finds when it is typed in this folder.

The home is the folder above, or `CARRYFLOW_HOME`. The specs and model versions are those that are published
there, or the default spec before anything is.
"""

import os
from pathlib import Path

from carryflow.features.spec import FeatureSettings, FeatureSpec
from carryflow.store.published import published_location, published_specs, published_versions
from feature_repo.services import define

HOME = Path(os.environ.get("CARRYFLOW_HOME", str(Path(__file__).resolve().parents[1])))

_specs = published_specs(HOME) or (FeatureSpec.of(FeatureSettings(), sentiment=False),)

# Feast looks for objects that have a name of their own in this file; each definition's name is one
globals().update(
    {
        f"{type(one).__name__}_{one.name}": one
        for one in define(published_location(HOME), _specs, published_versions(HOME))
    }
)
