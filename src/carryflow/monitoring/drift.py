"""Drift: whether the newest hours still look like those that the policy learned from."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from carryflow.core.atomic import write_atomically
from carryflow.core.errors import InvariantBroken, MarketDataError
from carryflow.core.section import Section
from carryflow.features.dataset import Dataset, read_dataset


class DriftSettings(Section):
    """Steer when features count as drifted.

    Both methods measure how far two distributions are apart, so that their thresholds mean the same for a
    thousand rows and for a million; a test of significance would flag noise on many rows.
    """

    method: Annotated[
        Literal["wasserstein", "psi"],
        Field(description="distance: wasserstein (training standard deviations) or psi (no unit)"),
    ] = "wasserstein"
    threshold: Annotated[
        float, Field(gt=0, description="distance above which one feature has drifted, in the method's unit")
    ] = 0.5
    share: Annotated[
        float, Field(gt=0, le=1, description="share of drifted features at which the data have drifted")
    ] = 0.5


@dataclass(frozen=True, slots=True)
class DriftReport:
    """Hold what was found.

    Attributes:
        share: share of features that drifted.
        columns: the features that drifted, in the order of the spec.
        distances: distance of every feature, in the method's unit.
        drifted: whether the share reaches the one in the settings.

    """

    share: float
    columns: tuple[str, ...]
    distances: dict[str, float]
    drifted: bool


def check_drift(dataset_dir: Path, out_html: Path, settings: DriftSettings) -> DriftReport:
    """Compare the test part of a dataset with its training part, feature by feature, and write the report.

    Features are compared as the policy sees them, scaled and clipped: a crash long past in training does not
    widen the yardstick. The page holds all that it needs.

    Raises:
        MarketDataError: there is no dataset, or one of its parts has no rows.

    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # its libraries talk of their own futures
        from evidently import Report
        from evidently.presets import DataDriftPreset

    dataset = read_dataset(dataset_dir)
    reference, current = _parts(dataset)
    preset = DataDriftPreset(method=settings.method, threshold=settings.threshold, drift_share=settings.share)
    snapshot = Report([preset], include_tests=True).run(current, reference)
    with write_atomically(out_html) as temporary:
        snapshot.save_html(str(temporary))
    return _read(snapshot.dict(), dataset.spec.names, settings)


def _parts(dataset: Dataset) -> tuple[Any, Any]:
    """Give the scaled rows of training and test as pandas tables."""
    import pandas as pd  # type: ignore[import-untyped,unused-ignore]

    names = list(dataset.spec.names)
    known_at_ms = dataset.frame["KnownAt"].dt.epoch("ms").to_numpy()
    scaled = dataset.series.rows
    parts = []
    for part, rows in (
        ("training", dataset.split.in_train(known_at_ms)),
        ("test", dataset.split.in_test(known_at_ms)),
    ):
        if not np.any(rows):
            raise MarketDataError(f"the {part} part holds no rows to compare; build the training set again")
        parts.append(pd.DataFrame(scaled[rows], columns=names))
    return parts[0], parts[1]


def _read(result: dict[str, Any], names: tuple[str, ...], settings: DriftSettings) -> DriftReport:
    """Read Evidently's verdict per feature: its tests decide, its metrics tell how far."""
    failed = {
        test["metric_config"]["params"]["column"]
        for test in result["tests"]
        if test["id"] == "drift" and str(test["status"]).endswith("FAIL")
    }
    distances = {
        metric["config"]["column"]: float(metric["value"])
        for metric in result["metrics"]
        if metric["config"]["type"].endswith("ValueDrift")
    }
    if set(distances) != set(names):
        raise InvariantBroken(f"the drift report compares {sorted(distances)}, the spec has {sorted(names)}")
    columns = tuple(name for name in names if name in failed)
    share = len(columns) / len(names)
    return DriftReport(share, columns, {name: distances[name] for name in names}, share >= settings.share)
