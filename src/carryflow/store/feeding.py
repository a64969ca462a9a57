"""Which specs rows feed: a feature's name says what it is only together with its formulas and its bars."""

from collections.abc import Collection
from pathlib import Path

import polars as pl

from carryflow.core.errors import MarketDataError, SchemaMismatchError
from carryflow.features.build import TABLE, read_spec
from carryflow.features.spec import SPEC_VERSION, FeatureSpec
from carryflow.store.published import published_specs, published_versions

MINUTE_MS = 60_000


def why_not_fed(spec: FeatureSpec, columns: Collection[str], version: int, bar_ms: int) -> str:
    """Say why rows do not feed a spec; empty where they do.

    Args:
        spec: the spec.
        columns: what the rows hold.
        version: version of the formulas that they were made by.
        bar_ms: length of their bars (milliseconds).

    >>> why_not_fed(FeatureSpec(("basis_bp",), lookback=2), ["basis_bp"], SPEC_VERSION, 5 * MINUTE_MS)
    'it has bars of 60 minutes, the rows of 5'
    """
    if lacking := [name for name in spec.published if name not in columns]:
        return f"the rows lack {', '.join(lacking)}"
    if spec.version != version:
        return f"its formulas are of version {spec.version}, those of the rows of {version}"
    if spec.bar_ms != bar_ms:
        return f"it has bars of {spec.bar_ms / MINUTE_MS:g} minutes, the rows of {bar_ms / MINUTE_MS:g}"
    return ""


def specs_of_frame(home: Path, frame_dir: Path) -> tuple[FeatureSpec, ...]:
    """Give a frame's own spec, and those of the model versions that the frame feeds."""
    read = (spec for spec in published_versions(home).values() if not features_lacking(frame_dir, spec))
    return tuple({spec.hash: spec for spec in (read_spec(frame_dir), *read)}.values())


def specs_of_rows(home: Path, rows: pl.DataFrame) -> tuple[FeatureSpec, ...]:
    """Give the published specs that the rows of a stream feed.

    Raises:
        MarketDataError: there is none; each is named with its reason.
        SchemaMismatchError: the rows do not say when their bars began and ended.
    """
    if lacking := [name for name in ("Date", "KnownAt") if name not in rows.columns]:
        raise SchemaMismatchError(f"the rows lack {', '.join(lacking)}; push what `features.stream` gives")
    lengths = rows.select((pl.col("KnownAt") - pl.col("Date")).dt.total_milliseconds().unique()).to_series()
    if len(lengths) != 1:
        raise MarketDataError(
            f"rows of {len(lengths)} lengths of bar cannot be pushed together; push one or more rows of one"
        )
    reasons = {
        spec: why_not_fed(spec, rows.columns, SPEC_VERSION, lengths[0]) for spec in published_specs(home)
    }
    fed = tuple(spec for spec, why in reasons.items() if not why)
    if not fed:
        told = "; ".join(f"{spec.hash}: {why}" for spec, why in reasons.items()) or "none is published"
        raise MarketDataError(
            f"no published spec in {home} takes the rows ({told}); build the features and publish them "
            "before a stream goes on from there"
        )
    return fed


def features_lacking(frame_dir: Path, spec: FeatureSpec) -> tuple[str, ...]:
    """Name the features that a frame lacks to feed a spec; all where its formulas or its bars are others.

    Raises:
        MarketDataError: there is no frame.
    """
    own, held = read_spec(frame_dir), pl.read_parquet_schema(frame_dir / TABLE)
    lacking = tuple(name for name in spec.published if name not in held)
    others = why_not_fed(spec, held, own.version, own.bar_ms)
    return lacking or (spec.published if others else ())
