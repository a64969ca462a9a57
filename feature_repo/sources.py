"""Where features come from: the Parquet files that the store's publication writes under a home."""

from feast import FileSource

from feature_repo import FEATURES_FILE, WINDOWS_FILE

EVENT_TIMESTAMP = "event_timestamp"
"""When a row was known: the close of its bar."""

CREATED_TIMESTAMP = "created"
"""When a row was published; of two rows for one event, the later published counts."""


def features_source(home: str) -> FileSource:
    """Give the hourly scalars of every ticker under a home (a folder or an s3:// prefix)."""
    return _parquet("carry_features_source", f"{home}/data/processed/{FEATURES_FILE}")


def windows_source(home: str) -> FileSource:
    """Give the newest windows of every ticker under a home (a folder or an s3:// prefix)."""
    return _parquet("carry_window_source", f"{home}/data/processed/{WINDOWS_FILE}")


def _parquet(name: str, path: str) -> FileSource:
    return FileSource(
        name=name,
        path=path,
        timestamp_field=EVENT_TIMESTAMP,
        created_timestamp_column=CREATED_TIMESTAMP,
    )
