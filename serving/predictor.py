"""The KServe predictor: questions come in over HTTP, the desk decides, Prometheus sees."""

import os
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, Protocol

from kserve import Model
from kserve.errors import InferenceError, InvalidInput
from prometheus_client import REGISTRY

from carryflow.agents.bundle import Bundle
from carryflow.core.errors import UnknownTickerError
from carryflow.market.store import read_source
from carryflow.monitoring.metrics import ServingMetrics
from carryflow.monitoring.sentry import start_error_reporting
from carryflow.promotion.registry import Registry
from carryflow.settings import Settings
from carryflow.store.online import OnlineFeatures
from serving.champion import ChampionDesk, require_spec
from serving.decision import Decision, DecisionDesk, Question
from serving.server import claim_port, serve_model

HOUR_MS = 3_600_000


class Desk(Protocol):
    """Answer questions."""

    def decide(self, question: Question) -> Decision:
        """Answer one question."""


class CarryPredictor(Model):
    """Answer KServe's V1 protocol: `{"instances": [{"ticker": "BTC", "position": 0.0, "drawdown": 0.0}]}`.

    Each instance gets one prediction, the JSON of a `serving.decision.Decision`. A bad question is a 400 that
    names what is wrong with it; a store that does not answer is a 500, and the asker keeps its position.
    """

    def __init__(self, name: str, desk: Desk, metrics: ServingMetrics) -> None:
        """Take the name in the URL, the desk that decides and the metrics that count."""
        super().__init__(name)
        self._desk = desk
        self._metrics = metrics
        self.ready = True

    def predict(self, payload: Any, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Decide on every instance of a V1 request.

        Raises:
            InvalidInput: the request is not V1, an instance is malformed, or its ticker is unknown.
            InferenceError: the feature store or the policy failed.
        """
        del headers  # nothing in them changes a decision
        instances = payload.get("instances") if isinstance(payload, Mapping) else None
        if not isinstance(instances, list) or not instances:
            raise InvalidInput(
                'expected V1 JSON such as {"instances": [{"ticker": "BTC"}]}, one or more of them'
            )
        try:
            questions = [Question.parse(instance) for instance in instances]
        except ValueError as error:
            raise InvalidInput(str(error)) from error
        return {"predictions": [self._answer(question).to_json() for question in questions]}

    def _answer(self, question: Question) -> Decision:
        start = time.perf_counter()
        try:
            decision = self._desk.decide(question)
        except UnknownTickerError as error:
            raise InvalidInput(str(error)) from error
        except Exception as error:  # whatever KServe does not know also drops the client's connection
            raise InferenceError(f"{type(error).__name__}: {error}") from error
        seconds = time.perf_counter() - start
        self._metrics.record_decision(
            decision.ticker, decision.outcome.value, decision.feature_age_s, seconds
        )
        return decision


def serve_champion(settings: Settings, environment: Mapping[str, str] | None = None) -> None:
    """Serve the registry's champion (or what `serving.alias` names) until the process is told to stop.

    Args:
        settings: names the home that holds registry and features, and steers the server.
        environment: the process's by default; SENTRY_DSN turns error reporting on.

    Raises:
        RegistryError: no version has that alias.
        SchemaMismatchError: the bundle does not load, or the features were published with another spec.
        MarketDataError: the version has no feature service, or nothing was published for it.
        SettingsError: the port is taken.
    """
    environment = os.environ if environment is None else environment
    start_error_reporting(environment, "predictor", installed_version("carryflow"))
    home, serving = settings.home_dir, settings.serving
    port = claim_port(serving.host, serving.port)
    clock = venue_clock(settings.venue.name, home / "data" / "crypto")
    metrics = ServingMetrics(REGISTRY)

    def open_desk(version: str, bundle: Bundle) -> DecisionDesk:
        features = OnlineFeatures(home, version)
        require_spec(bundle, features.unaged_window, features.tickers)
        return DecisionDesk(
            bundle, features.unaged_window, clock, round(serving.max_feature_age_hours * HOUR_MS)
        )

    def announce(bundle: Bundle) -> None:
        metrics.record_bundle(bundle.hash, bundle.metadata.expires_at_ms)

    desk = ChampionDesk(Registry(home / "registry"), serving.alias, open_desk, announce)
    serve_model(CarryPredictor(serving.model_name, desk, metrics), serving.host, port)


def venue_clock(venue: str, market_dir: Path) -> Callable[[], int]:
    """Give the clock that features are aged by: UTC milliseconds at a real venue, a simulated one's own time.

    A simulated venue plays hours of the past; its clock stood at the end of the tape when it was last asked,
    and goes on from there.
    """
    source = read_source(market_dir) if venue == "simulated" else None
    if source is None:
        return lambda: time.time_ns() // 1_000_000
    start_ms, start_ns = source.venue_time_ms, time.monotonic_ns()
    return lambda: start_ms + (time.monotonic_ns() - start_ns) // 1_000_000
