"""The Feast repository: entities, sources, views and services.

Its files hold functions of where the published tables lie and of the feature specs that are published there,
so that one definition serves the command line, the tests and every home; `definitions` calls them once for
whoever types `feast apply` here.

Everything that a spec publishes carries the spec's hash in its name: two model versions that read different
features, or one feature by different formulas, are served from one store side by side.
"""

FEATURES_FILE = "features.parquet"
"""Every version of every row of every ticker, in the folder of a spec."""

WINDOWS_FILE = "windows.parquet"
"""Newest windows of every ticker, in the same folder."""


def features_view(spec_hash: str) -> str:
    """Name the view of a spec's features, one row a bar."""
    return f"carry_features_{spec_hash}"


def market_view(spec_hash: str) -> str:
    """Name the view of the prices and settlements that the same bars had."""
    return f"carry_market_{spec_hash}"


def window_view(spec_hash: str) -> str:
    """Name the view of a spec's newest windows."""
    return f"carry_window_{spec_hash}"


def position_view(spec_hash: str) -> str:
    """Name the on-demand view of what a position earns."""
    return f"carry_position_{spec_hash}"


def push_source(view: str) -> str:
    """Name the source that a stream pushes rows of a view to."""
    return f"{view}_push"


def training_service(spec_hash: str) -> str:
    """Name the service that a training set is joined from."""
    return f"carry_training_{spec_hash}"


def version_service(version: str) -> str:
    """Name the service that a model version reads."""
    return f"carry_policy_{version}"
