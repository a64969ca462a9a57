"""Where features come from: published Parquet files, a stream that pushes rows, and the request itself."""

import os

from feast import Field, FileSource, PushSource, RequestSource
from feast.types import Float64

from feature_repo import FEATURES_FILE, WINDOWS_FILE, push_source

EVENT_TIMESTAMP = "event_timestamp"
"""When a row was known: the close of its bar."""

CREATED_TIMESTAMP = "created"
"""When a version of a row was published; of two versions of one row, the later published counts."""


def features_source(location: str, spec_hash: str) -> FileSource:
    """Give the rows of a spec under the folder (or the s3:// prefix) of what is published."""
    return _parquet(f"carry_features_{spec_hash}_source", f"{location}/{spec_hash}/{FEATURES_FILE}")


def windows_source(location: str, spec_hash: str) -> FileSource:
    """Give the newest windows of a spec under the folder (or the s3:// prefix) of what is published."""
    return _parquet(f"carry_window_{spec_hash}_source", f"{location}/{spec_hash}/{WINDOWS_FILE}")


def pushed(view: str, batch: FileSource) -> PushSource:
    """Give the source of rows that a stream pushes to a view; its history is the view's batch source."""
    return PushSource(name=push_source(view), batch_source=batch)


def position_request() -> RequestSource:
    """Give what only the asker knows: its position, and the share of capital that its spot leg gets."""
    return RequestSource(
        name="position_request",
        schema=[Field(name="position", dtype=Float64), Field(name="spot_share", dtype=Float64)],
    )


def _parquet(name: str, path: str) -> FileSource:
    return FileSource(
        name=name,
        path=path,
        timestamp_field=EVENT_TIMESTAMP,
        created_timestamp_column=CREATED_TIMESTAMP,
        s3_endpoint_override=os.environ.get("AWS_ENDPOINT_URL", "") if path.startswith("s3://") else "",
    )
