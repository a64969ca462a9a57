"""Fixtures that every test room shares."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of recorded market hours, named by `CARRYFLOW_REAL_DATA`."""
    folder = os.environ.get("CARRYFLOW_REAL_DATA")
    if not folder:
        pytest.skip(
            "recorded market hours are not part of the product; name their folder in CARRYFLOW_REAL_DATA"
        )
    path = Path(folder)
    if not path.is_dir():
        pytest.fail(f"CARRYFLOW_REAL_DATA={folder} is no folder")
    return path
