"""Whose bundle answers: the desk follows an alias of the registry, so that a promotion needs no restart."""

import logging
import time
from collections.abc import Callable, Sequence

from carryflow.agents.bundle import Bundle, load_bundle
from carryflow.core.errors import CarryflowError, RegistryError, UnknownTickerError
from carryflow.promotion.registry import Alias, Registry
from carryflow.store.online import OnlineWindow
from serving.decision import Decision, DecisionDesk, Question

LOOK_AGAIN_S = 5.0
"""How long a promotion may stay unnoticed (s)."""

log = logging.getLogger("carryflow.serving")


class ChampionDesk:
    """Decide with the bundle that an alias names at the time of the question.

    A new version takes over only after its bundle was loaded and fits the published features; until then the
    old one goes on, and the log says why.
    """

    def __init__(
        self,
        registry: Registry,
        alias: Alias,
        open_desk: Callable[[str, Bundle], DecisionDesk],
        announce: Callable[[Bundle], None],
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the first desk.

        Args:
            registry: holds versions and aliases.
            alias: whose bundle answers.
            open_desk: makes a desk of a version and its bundle, or refuses it with a CarryflowError.
            announce: is told of each bundle that takes over.
            timer: seconds from an arbitrary start, never going back.

        Raises:
            RegistryError: no version has that alias.
            SchemaMismatchError: the bundle is not whole, or the features were published with another spec.
        """
        self._registry, self._alias, self._open_desk, self._announce = registry, alias, open_desk, announce
        self._timer = timer
        self._refused: str | None = None
        self._version = self._resolve()
        self._desk = self._take_over(self._version)
        self._looked_at = timer()

    def decide(self, question: Question) -> Decision:
        """Answer one question; raises as `DecisionDesk.decide` does."""
        if self._timer() - self._looked_at >= LOOK_AGAIN_S:
            self._looked_at = self._timer()
            self._follow()
        return self._desk.decide(question)

    def _follow(self) -> None:
        try:
            version = self._resolve()
            if version != self._version:
                self._desk, self._version = self._take_over(version), version
                log.warning("%s is now version %s", self._alias.value, version)
        except CarryflowError as error:
            if str(error) != self._refused:
                self._refused = str(error)
                log.error("version %s goes on as %s: %s", self._version, self._alias.value, error)  # noqa: TRY400

    def _resolve(self) -> str:
        version = self._registry.resolve(self._alias)
        if version is None:
            raise RegistryError(
                f"{self._registry.root} has no {self._alias.value}; `carryflow run` trains one, and "
                "promotes it if it passes"
            )
        return version

    def _take_over(self, version: str) -> DecisionDesk:
        bundle = load_bundle(self._registry.bundle_dir(version))
        desk = self._open_desk(version, bundle)
        self._announce(bundle)
        return desk


def require_spec(bundle: Bundle, read_window: Callable[[str], OnlineWindow], tickers: Sequence[str]) -> None:
    """Refuse a bundle that was trained on other features than those published.

    Raises:
        SchemaMismatchError: a ticker's features were published with another spec.
        UnknownTickerError: not one of the tickers was published.
    """
    published = 0
    for ticker in tickers:
        try:
            spec_hash = read_window(ticker).spec_hash
        except UnknownTickerError:
            continue
        bundle.spec.require(spec_hash, f"the online window of {ticker}")
        published += 1
    if not published:
        raise UnknownTickerError(
            f"the feature store has none of {', '.join(tickers) or 'the coins'}; publish features first"
        )
