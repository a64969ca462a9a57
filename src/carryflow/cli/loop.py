"""The whole weekly loop on this machine: one run of the graph, then one served decision."""

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from carryflow.cli.proof import prove_serving
from carryflow.cli.result import policies_table, proof_table, verdict_table
from carryflow.core.atomic import write_atomically
from carryflow.core.errors import CarryflowError, InvariantBroken, SettingsError
from carryflow.evaluation.baselines import GATED
from carryflow.evaluation.evidence import REPORT_FILE, Evidence
from carryflow.market.data import to_ms
from carryflow.monitoring.metrics import write_run_metrics
from carryflow.promotion.registry import Registry
from carryflow.settings import Settings


def run_loop(settings: Settings, console: Console) -> None:
    """Run the graph through `kfp.local`, serve what it promoted, ask it once, and show the result.

    Raises:
        CarryflowError: another run works in the same folder, or a step failed; the message is the step's own.
    """
    from pipelines.local import code_version, run_local
    from pipelines.retrain import SECTIONS, retrain

    home = settings.home_dir
    folder = home / "runs" / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{settings.hash}"
    with alone(home):
        resolved = _keep(settings, folder)
        console.print(f"settings {settings.hash}, log {folder / 'pipeline.log'}", soft_wrap=True)
        parameters = {"home": str(home), "code": code_version(), "seed": settings.seed}
        outputs = run_local(
            retrain,
            {**parameters, **settings.sections(*SECTIONS)},
            root=home / "runs" / "artifacts",
            log=folder / "pipeline.log",
            show=lambda line: console.print(line, soft_wrap=True),
        )
        evidence = _show_result(Registry(home / "registry"), outputs, console)
        _count_result(home, evidence, outputs)
        report = Registry(home / "registry").evidence_dir(outputs["version"]) / REPORT_FILE
        try:
            _show_proof(settings, resolved, folder / "server.log", console)
        finally:
            console.print(f"\nreport: {report}", soft_wrap=True)


def _keep(settings: Settings, folder: Path) -> Path:
    """Store the settings as resolved, under their hash."""
    path = folder / "settings.yaml"
    with write_atomically(path) as temporary:
        tree = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)
        temporary.write_text(f"# hash: {settings.hash}\n{tree}", encoding="utf-8")
    return path


def _show_result(registry: Registry, outputs: Mapping[str, Any], console: Console) -> Evidence:
    version = outputs["version"]
    evidence = Evidence.read(registry.evidence_dir(version))
    console.print()
    console.print(policies_table(evidence))
    console.print(verdict_table(registry.verdict(version)))
    console.print(
        f"drift: {outputs['drift_share']:.0%} of the features are distributed otherwise than in training"
    )
    return evidence


def _count_result(home: Path, evidence: Evidence, outputs: Mapping[str, Any]) -> None:
    """Leave the run's numbers where a Prometheus node exporter collects them."""
    scored = evidence.policies[GATED].portfolio
    numbers = {
        "return_apr": scored.return_apr,
        "max_drawdown": scored.max_drawdown,
        "drift_share": outputs["drift_share"],
        "promoted": float(outputs["promoted"]),
    }
    write_run_metrics(home / "runs" / "carryflow.prom", numbers, to_ms(datetime.now(UTC)))


def _show_proof(settings: Settings, resolved: Path, log: Path, console: Console) -> None:
    champion = Registry(settings.home_dir / "registry").resolve(settings.serving.alias)
    if champion is None:
        console.print("there is no champion yet, so nothing is served")
        return
    console.print(f"serving {champion} and asking it")
    proofs = prove_serving(settings, champion, resolved, log)
    console.print(proof_table(proofs))
    unequal = [proof.ticker for proof in proofs if not (proof.equal or proof.held)]
    if unequal:
        raise InvariantBroken(
            f"the served action differs from the offline one for {', '.join(unequal)}; do not trade this "
            f"version, and look into {log}"
        )


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """Hold the folder for one run at a time; the lock goes with the process, however it ends."""
    lock = home / "runs" / ".lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = lock.open("w")
    except OSError as error:
        raise SettingsError(
            f"cannot write in {home}: {error.strerror}; name another folder with -o home=…"
        ) from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CarryflowError(
                f"another run works in {home}; wait for it, or name another folder with -o home=…"
            ) from None
        yield
