"""The feature store, on Feast: publication, the training set, and the newest window for a decision.

Offline, DuckDB joins the published Parquet files as of each decision; online, SQLite (or Redis) holds the
newest row of each ticker. What is published is never scaled: the scaler belongs to the model that was trained
with it.
"""

from carryflow.store.connection import STORE_VARIABLE, open_store
from carryflow.store.feeding import features_lacking
from carryflow.store.online import OnlineFeatures, OnlineWindow
from carryflow.store.publication import publish, push_rows, serve_version
from carryflow.store.published import STATE_DIR, processed_dir, published_specs, published_versions
from carryflow.store.training import training_set

__all__ = [
    "STATE_DIR",
    "STORE_VARIABLE",
    "OnlineFeatures",
    "OnlineWindow",
    "features_lacking",
    "open_store",
    "processed_dir",
    "publish",
    "published_specs",
    "published_versions",
    "push_rows",
    "serve_version",
    "training_set",
]
