"""What `feast apply` finds when it is typed in this folder.

The home is the folder above, or `CARRYFLOW_HOME` (a folder or an s3:// prefix). The features are those of the
frame built there, or the default ones before there is a frame.
"""

import os
from pathlib import Path

from carryflow.features.build import CARD, read_spec
from carryflow.features.spec import FeatureSettings, FeatureSpec
from feature_repo.services import define

HOME = os.environ.get("CARRYFLOW_HOME", str(Path(__file__).resolve().parents[1]))

_processed = Path(HOME) / "data" / "processed"
_spec = (
    read_spec(_processed)
    if (_processed / CARD).is_file()
    else FeatureSpec.of(FeatureSettings(), sentiment=False)
)

ticker, carry_features, carry_window, carry_policy, carry_decision = define(HOME, _spec.names)
