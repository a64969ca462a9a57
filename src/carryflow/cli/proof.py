"""The proof that what is served is what was judged: the champion's answer over HTTP and offline."""

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from carryflow.agents.bundle import load_bundle
from carryflow.core.errors import CarryflowError
from carryflow.features.build import build_features, read_frame
from carryflow.features.scaling import Scaler
from carryflow.promotion.registry import Registry
from carryflow.settings import ENVIRONMENT_PREFIX, Settings

START_TIMEOUT_S = 120
ANSWER_TIMEOUT_S = 30
CONNECT_RETRIES = 6


@dataclass(frozen=True, slots=True)
class Proof:
    """Hold both answers to one question.

    Attributes:
        ticker: the coin asked about, for an account without a position.
        served: the prediction, as the server sent it.
        offline: the action of the same bundle on an observation built from the market's files alone.
    """

    ticker: str
    served: dict[str, Any]
    offline: float

    @property
    def held(self) -> bool:
        """Say whether the server answered HOLD, so that there is nothing to compare."""
        return bool(self.served["hold"])

    @property
    def equal(self) -> bool:
        """Say whether the served action is the offline one, to the last bit of float32."""
        return not self.held and np.float32(self.served["action"]) == np.float32(self.offline)


def prove_serving(settings: Settings, version: str, resolved: Path, log: Path) -> list[Proof]:
    """Serve the champion in a process of its own, ask it about every coin, and decide the same offline.

    Args:
        settings: as resolved.
        version: the registry's champion.
        resolved: the same as a YAML file, for the server.
        log: file that receives what the server says.

    Raises:
        CarryflowError: the server does not start or does not answer.
    """
    import httpx

    offline = _decide_offline(settings, version)
    instances = [{"ticker": ticker, "position": 0.0, "drawdown": 0.0} for ticker in offline]
    patient = httpx.HTTPTransport(retries=CONNECT_RETRIES)  # it says where it will be just before it is there
    with _serving(resolved, log) as url, httpx.Client(transport=patient, timeout=ANSWER_TIMEOUT_S) as client:
        try:
            answer = client.post(url, json={"instances": instances})
            predictions = answer.raise_for_status().json()["predictions"]
        except httpx.HTTPError as error:
            raise CarryflowError(f"the server at {url} did not answer: {error} (its log: {log})") from None
    return [
        Proof(ticker, served, action)
        for (ticker, action), served in zip(offline.items(), predictions, strict=True)
    ]


def _decide_offline(settings: Settings, version: str) -> dict[str, float]:
    """Return a version's action per coin at the newest hour, from the market's files and no feature store."""
    registry = Registry(settings.home_dir / "registry")
    bundle = load_bundle(registry.bundle_dir(version))
    scaler = Scaler.from_json(bundle.scaler)
    with tempfile.TemporaryDirectory() as folder:
        build_features(settings.market_dir, Path(folder), settings.data, settings.features)
        frame = read_frame(Path(folder))
    actions = {}
    for (ticker,), rows in frame.table.group_by("Ticker", maintain_order=True):
        window = rows.tail(frame.spec.lookback).select(frame.spec.published).to_numpy().astype(np.float32)
        observation = np.concatenate([scaler.transform(window).ravel(), np.zeros(2, dtype=np.float32)])
        actions[str(ticker)] = float(bundle.decide(observation[np.newaxis]).action[0])
    return actions


@contextmanager
def _serving(resolved: Path, log: Path) -> Iterator[str]:
    """Lend the URL of a server that runs until the block ends."""
    command = [sys.executable, "-m", "carryflow", "serve", "--config", str(resolved), "-o", "serving.port=0"]
    with log.open("w") as errors, _process(command, errors) as process:
        yield _await_url(process, log)


@contextmanager
def _process(command: Sequence[str], errors: Any) -> Iterator["subprocess.Popen[str]"]:
    # what was resolved is in the file; a variable of ours would win over it again
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)
    }
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def _await_url(process: "subprocess.Popen[str]", log: Path) -> str:
    """Read the server's announcement, `serving … on URL`; a server that says nothing in time is killed."""
    alarm = threading.Timer(START_TIMEOUT_S, process.kill)
    alarm.start()
    try:
        for line in process.stdout or ():
            if line.startswith("serving "):
                return line.split()[-1]
    finally:
        alarm.cancel()
    said = log.read_text(encoding="utf-8").strip().splitlines()
    raise CarryflowError(
        f"the server did not start: {said[-1] if said else 'it said nothing'} (its log: {log})"
    )
