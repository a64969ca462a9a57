"""The Feast repository: entities, sources, views and services.

Its files hold functions of the home folder, so that one definition serves the command line, the tests and
every home; `definitions` calls them once for whoever types `feast apply` here.
"""

FEATURES_FILE = "features.parquet"
"""Hourly scalars of every ticker, in `data/processed` of the home."""

WINDOWS_FILE = "windows.parquet"
"""Newest windows of every ticker, in the same folder."""
