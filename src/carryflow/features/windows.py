"""Sliding windows: what a policy sees at once, as a view of the features or as one array on disk."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from carryflow.core.atomic import write_atomically
from carryflow.core.errors import MarketDataError, SchemaMismatchError
from carryflow.features.dataset import Dataset, read_dataset
from carryflow.features.series import ScaledSeries, open_series

_BUFFER_BYTES = 1 << 18
"""Windows on their way to disk: few enough to stay in the processor's cache."""


def window_view(series: NDArray[np.float32], lookback: int) -> NDArray[np.float32]:
    """View a series (n, F) as windows (n − lookback + 1, lookback, F), the oldest bar first.

    Nothing is copied. Window i ends at row i + lookback − 1, and belongs to the decision made there.

    >>> window_view(np.arange(4, dtype=np.float32).reshape(4, 1), 3)[:, :, 0]
    array([[0., 1., 2.],
           [1., 2., 3.]], dtype=float32)

    Raises:
        MarketDataError: the series is shorter than one window.

    """
    if len(series) < lookback:
        raise MarketDataError(f"{len(series)} rows are fewer than one window of {lookback}; fetch more hours")
    view: NDArray[np.float32] = sliding_window_view(series, lookback, axis=0).transpose(0, 2, 1)
    return view


@dataclass(frozen=True, slots=True)
class Windows:
    """Say where windows are to be read: as views of a mapped series, or as an exported array.

    Attributes:
        path: the file.
        counts: windows of each ticker.
        shape: bars and features of one window.
        exported: whether the file holds every window, or the series that they are views of.

    """

    path: Path
    counts: dict[str, int]
    shape: tuple[int, int]
    exported: bool


def build_windows(dataset_dir: Path, export_dir: Path | None = None) -> Windows:
    """Give the windows of a dataset: those that its series already is, or an export of them all.

    Args:
        dataset_dir: folder of the dataset.
        export_dir: folder to write the exported array to; None maps the series and writes nothing.

    Raises:
        MarketDataError: there is no dataset, or no ticker has a whole window.
        SchemaMismatchError: the parts of the dataset do not belong together.

    """
    if export_dir is None:
        series, path = open_series(dataset_dir), None
    else:
        dataset = read_dataset(dataset_dir)
        series, path = dataset.series, export_windows(dataset, export_dir)
    if not sum(series.window_counts.values()):
        raise MarketDataError(
            f"no ticker of {dataset_dir} has {series.lookback} rows, one window; fetch more hours"
        )
    shape = (series.lookback, series.rows.shape[1])
    return Windows(path or series.path, series.window_counts, shape, exported=path is not None)


def export_windows(dataset: Dataset, out_dir: Path) -> Path:
    """Write every scaled window of every ticker to `crypto_windows_{lookback}.npy`, and say what they are.

    For readers that want one plain array; training reads the series itself. The array is float32 (n_windows,
    lookback, F), `lookback` times the size of the series, and passes through a buffer, so that its size is
    bounded by the disk and not by memory. Windows of one ticker lie together and never reach into another's.
    The sidecar of the same name, ending in `.json`, gives the spec and its hash, and per ticker the first
    window, the count, and the decision time of the first; each next window is one bar later.
    """
    spec, series = dataset.spec, dataset.series
    path = out_dir / f"crypto_windows_{spec.lookback}.npy"
    sidecar = path.with_suffix(".json")
    out_dir.mkdir(parents=True, exist_ok=True)
    # A sidecar never stands beside an array that it does not describe: it goes first and comes last.
    sidecar.unlink(missing_ok=True)
    with write_atomically(path) as temporary, temporary.open("wb") as file:
        _write_all(series, file)
    runs, first = [], 0
    for run in series.runs:
        count = series.window_counts[run.ticker]
        if count:
            known_at_ms = run.known_at_ms + (spec.lookback - 1) * dataset.bar_ms
            runs.append({"ticker": run.ticker, "first": first, "count": count, "known_at_ms": known_at_ms})
        first += count
    card = {
        "spec": json.loads(spec.to_json()),
        "spec_hash": spec.hash,
        "market_version": dataset.market_version,
        "scaled": True,
        "bar_ms": dataset.bar_ms,
        "runs": runs,
    }
    with write_atomically(sidecar) as temporary:
        temporary.write_text(json.dumps(card, indent=2) + "\n")
    return path


def _write_all(series: ScaledSeries, file: BinaryIO) -> None:
    """Write the array of all windows in npy format, a buffer of them at a time."""
    one = (series.lookback, series.rows.shape[1])
    shape = (len(series.ends), *one)
    header = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)),
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_1_0(file, header)
    at_once = max(_BUFFER_BYTES // (4 * one[0] * one[1]), 1)
    buffer = np.empty((at_once, *one), dtype=np.float32)
    for first in range(0, len(series.ends), at_once):
        ends = series.ends[first : first + at_once]
        file.write(series.gather(ends, buffer[: len(ends)]).data)


def read_windows(path: Path, spec_hash: str) -> tuple[NDArray[np.float32], list[dict[str, Any]]]:
    """Map an exported array read-only, with its runs by ticker.

    Raises:
        SchemaMismatchError: the array was written for another feature spec, or its writing was cut short.

    """
    sidecar = path.with_suffix(".json")
    if not sidecar.is_file():
        raise SchemaMismatchError(
            f"{sidecar} is not there, so {path.name} cannot be trusted; export it again"
        )
    card = json.loads(sidecar.read_text())
    if card["spec_hash"] != spec_hash:
        raise SchemaMismatchError(
            f"{path} holds spec {card['spec_hash']}, wanted {spec_hash}; export it again"
        )
    return np.load(path, mmap_mode="r"), card["runs"]
