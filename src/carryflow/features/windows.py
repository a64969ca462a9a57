"""Sliding windows: what a policy sees at once, as a view of the features or as one array on disk."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from carryflow.core.atomic import write_atomically
from carryflow.core.errors import MarketDataError, SchemaMismatchError

if TYPE_CHECKING:
    from carryflow.features.dataset import Dataset


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


def export_windows(dataset: "Dataset", out_dir: Path) -> Path:
    """Write every scaled window of every ticker to `crypto_windows_{lookback}.npy`, and say what they are.

    The array is float32 (n_windows, lookback, F), written through the page cache, so that its size is bounded
    by the disk and not by memory. Windows of one ticker lie together and never reach into another's. The
    sidecar of the same name, ending in `.json`, gives the spec and its hash, and per ticker the first window,
    the count, and the decision time of the first; each next window is one bar later.
    """
    spec = dataset.spec
    path = out_dir / f"crypto_windows_{spec.lookback}.npy"
    sidecar = path.with_suffix(".json")
    scaled = {ticker: dataset.scaled(ticker) for ticker in dataset.tickers}
    out_dir.mkdir(parents=True, exist_ok=True)
    counts = {ticker: max(len(rows) - spec.lookback + 1, 0) for ticker, rows in scaled.items()}
    shape = (sum(counts.values()), spec.lookback, len(spec.names))
    runs: list[dict[str, Any]] = []
    # A sidecar never stands beside an array that it does not describe: it goes first and comes last.
    sidecar.unlink(missing_ok=True)
    with write_atomically(path) as temporary:
        array = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
        first = 0
        for ticker, rows in scaled.items():
            if counts[ticker] == 0:
                continue
            array[first : first + counts[ticker]] = window_view(rows, spec.lookback)
            known_at_ms = int(dataset.known_at_ms(ticker)[spec.lookback - 1])
            runs.append(
                {"ticker": ticker, "first": first, "count": counts[ticker], "known_at_ms": known_at_ms}
            )
            first += counts[ticker]
        array.flush()
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
