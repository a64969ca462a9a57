"""The evidence on one bundle: what it did on hours it had not seen, and what others did on the same hours."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import polars as pl
from pydantic import Field, TypeAdapter, ValidationError

from carryflow.core.atomic import write_atomically
from carryflow.core.errors import MarketDataError, SchemaMismatchError
from carryflow.core.section import Section
from carryflow.env.settings import EnvSettings
from carryflow.evaluation import baselines
from carryflow.evaluation.formats import format_hour
from carryflow.evaluation.metrics import PolicyScore

if TYPE_CHECKING:
    from carryflow.agents.bundle import Bundle
    from carryflow.features.dataset import Dataset

EVIDENCE_FILE = "evidence.json"
REPORT_FILE = "report.html"
LEDGER_FILE = "ledgers.parquet"


class EvaluationSettings(Section):
    """Steer the baselines that stand beside a bundle."""

    carry_enter_apr: Annotated[
        float, Field(ge=-1.0, le=1.0, description="Threshold carry enters above this trailing carry (1/year)")
    ] = 0.08
    carry_exit_apr: Annotated[
        float, Field(ge=-1.0, le=1.0, description="Threshold carry leaves below this trailing carry (1/year)")
    ] = 0.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """Hold everything that a verdict needs to know of one bundle.

    Attributes:
        bundle_hash: which bundle was scored.
        spec_hash: the feature spec that it was scored on.
        market_version: which market data it was scored on.
        tickers: what it traded.
        train_start_ms: first decision time that the bundle was trained on (UTC, milliseconds).
        train_end_ms: last decision time that it was trained on.
        test_start_ms: first decision time of the scored hours.
        test_end_ms: last decision time of the scored hours.
        expires_at_ms: from when on the bundle must not be used.
        champion_hash: the champion that stood beside it, None where there was none or it was this bundle.
        champion_refused: why that champion could not trade these hours, None where it could.
        env: the settings of the account that every policy traded: capital, costs, margin.
        lineage: what the bundle was made of, by name.
        policies: what each policy's trading was worth, by the policy's name.
    """

    bundle_hash: str
    spec_hash: str
    market_version: str
    tickers: tuple[str, ...]
    train_start_ms: int
    train_end_ms: int
    test_start_ms: int
    test_end_ms: int
    expires_at_ms: int
    champion_hash: str | None
    champion_refused: str | None
    env: Mapping[str, Any]
    lineage: Mapping[str, str]
    policies: Mapping[str, PolicyScore]

    def write(self, folder: Path) -> Path:
        """Write the evidence into a folder and give the file's path."""
        target = folder / EVIDENCE_FILE
        with write_atomically(target) as path:
            path.write_bytes(_ADAPTER.dump_json(self, indent=2) + b"\n")
        return target

    @classmethod
    def read(cls, folder: Path) -> "Evidence":
        """Read the evidence that `write` left in a folder.

        Raises:
            SchemaMismatchError: there is none, or it is not whole.
        """
        path = folder / EVIDENCE_FILE
        if not path.is_file():
            raise SchemaMismatchError(f"{path} is missing; evaluate the bundle first")
        try:
            return _ADAPTER.validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise SchemaMismatchError(
                f"{path} is not whole evidence: {where}: {first['msg']}; evaluate the bundle again"
            ) from error


_ADAPTER = TypeAdapter(Evidence)


def evaluate(
    dataset_dir: Path,
    bundle_dir: Path,
    out_dir: Path,
    env: EnvSettings,
    settings: EvaluationSettings,
    *,
    champion_dir: Path | None = None,
    curves: Mapping[str, Path] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Evidence:
    """Score a bundle on the test part of a dataset, beside the baselines and the champion.

    Writes `evidence.json`, `ledgers.parquet` (every policy's hourly ledger) and `report.html`.

    Args:
        dataset_dir: the dataset; its test part is traded.
        bundle_dir: the bundle.
        out_dir: where to write.
        env: capital, costs, margin and trading rule of every account.
        settings: the baselines.
        champion_dir: the bundle that is champion now, None where there is none.
        curves: learning curves to show in the report, by agent: JSON files of one list of points each.
        progress: is told what is being done, one line at a time.

    Raises:
        SchemaMismatchError: the bundle is broken, or was made for another feature spec.
        MarketDataError: the dataset is not there, or the bundle was trained on hours of the test part.
    """
    # The settings of this room are read by every command; torch, numba and plotly only by this function.
    from carryflow.agents.bundle import load_bundle
    from carryflow.evaluation.contest import compete, line_up
    from carryflow.evaluation.ledgers import score
    from carryflow.evaluation.report import write_report
    from carryflow.features.dataset import read_dataset

    dataset, bundle = read_dataset(dataset_dir), load_bundle(bundle_dir)
    dataset.spec.require(bundle.spec.hash, f"the bundle in {bundle_dir}")
    _require_unseen(bundle, dataset)
    champion, champion_hash, refused = _admit_champion(champion_dir, dataset)
    if champion_hash == bundle.hash:  # nobody competes with himself, and the evidence stays what it was
        champion, champion_hash, refused = None, None, None
    ledgers = compete(line_up(dataset, bundle, champion, settings), dataset, env, progress)
    evidence = Evidence(
        bundle_hash=bundle.hash,
        spec_hash=dataset.spec.hash,
        market_version=dataset.market_version,
        tickers=dataset.tickers,
        train_start_ms=bundle.metadata.train_start_ms,
        train_end_ms=bundle.metadata.train_end_ms,
        test_start_ms=dataset.split.test_start_ms,
        test_end_ms=dataset.split.test_end_ms,
        expires_at_ms=bundle.metadata.expires_at_ms,
        champion_hash=champion_hash,
        champion_refused=refused,
        env=env.model_dump(mode="json"),
        lineage=dict(bundle.metadata.lineage),
        policies={name: score(ledger) for name, ledger in ledgers.items()},
    )
    table = pl.concat(
        [ledger.with_columns(pl.lit(name).alias("policy")) for name, ledger in ledgers.items()],
        how="diagonal",
    )
    with write_atomically(out_dir / LEDGER_FILE) as path:
        table.write_parquet(path)
    progress("writing the report")
    write_report(out_dir, evidence, table, _known_carry(dataset), _read_curves(curves or {}))
    evidence.write(out_dir)  # last: who finds it finds the rest
    return evidence


def _require_unseen(bundle: "Bundle", dataset: "Dataset") -> None:
    """Refuse to score a bundle on hours that it was trained on; raises as `evaluate` does."""
    last_trained, first_tested = bundle.metadata.train_end_ms, dataset.split.test_start_ms
    if last_trained >= first_tested:
        raise MarketDataError(
            f"bundle {bundle.hash} was trained until {format_hour(last_trained)}, the test begins "
            f"{format_hour(first_tested)}: it would be scored on hours that it has seen; train it on this "
            "dataset's training part"
        )


def _admit_champion(
    champion_dir: Path | None, dataset: "Dataset"
) -> tuple["Bundle | None", str | None, str | None]:
    """Give the champion if it can trade the dataset, its hash, and else why it cannot."""
    from carryflow.agents.bundle import BUNDLE_FILE, load_bundle
    from carryflow.agents.weights import read_description

    if champion_dir is None:
        return None, None, None
    stated = str(read_description(champion_dir / BUNDLE_FILE).get("hash"))
    try:
        champion = load_bundle(champion_dir)
        dataset.spec.require(champion.spec.hash, "it")
    except SchemaMismatchError as error:
        return None, stated, str(error)
    return champion, champion.hash, None


def _known_carry(dataset: "Dataset") -> pl.DataFrame:
    """Give the trailing carry that could be known at each hour of the test: timestamp, ticker, carry_apr."""
    known_at_ms = dataset.frame["KnownAt"].dt.epoch("ms").to_numpy()
    tested = dataset.frame.filter(dataset.split.in_test(known_at_ms))
    return tested.select(timestamp="KnownAt", ticker="Ticker", carry_apr=baselines.CARRY_FEATURE)


def _read_curves(curves: Mapping[str, Path]) -> dict[str, list[dict[str, float]]]:
    """Read learning curves; one that is missing is an error, for it was asked for."""
    return {name: json.loads(path.read_text()) for name, path in curves.items()}
