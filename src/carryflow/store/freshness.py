"""How old each feature of a window is, and how old it may be: online, Feast serves old values silently."""

from collections.abc import Mapping
from dataclasses import dataclass

from carryflow.core.errors import SchemaMismatchError
from carryflow.features.catalogue import BAR_AGE_HOURS, CATALOGUE
from carryflow.features.spec import FeatureSpec

HOUR_MS = 3_600_000

WINDOW = "window"
"""The window as a whole, aged by its last bar whatever clocks its features have."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Say by which clock a feature is aged and how old it may become.

    Attributes:
        name: the feature, or `WINDOW`.
        clock: "bar", "funding" or "sentiment".
        limit_ms: age beyond which it must not be used (milliseconds).
    """

    name: str
    clock: str
    limit_ms: int


@dataclass(frozen=True, slots=True)
class FeatureAge:
    """Hold the age of one feature, beside its bound (milliseconds)."""

    bound: Bound
    age_ms: int

    @property
    def stale(self) -> bool:
        """Say whether the feature is older than it may be."""
        return self.age_ms > self.bound.limit_ms


def bounds_of(spec: FeatureSpec, max_bar_age_ms: int | None = None) -> tuple[Bound, ...]:
    """Give the bound of each published feature, in the order of the spec, and last that of the window.

    The window has a bound of its own, for settlements come late: features that only the funding clock dates
    would pass for fresh on bars of half a day ago.

    Args:
        spec: the features.
        max_bar_age_ms: bound of the window and of what is dated by the bar's close, in place of the
            catalogue's own.

    Raises:
        SchemaMismatchError: the catalogue has no such feature.
    """
    bar_limit_ms = round(BAR_AGE_HOURS * HOUR_MS) if max_bar_age_ms is None else max_bar_age_ms
    bounds = []
    for name in spec.published:
        if name not in CATALOGUE:
            raise SchemaMismatchError(
                f"feature {name!r} of spec {spec.hash} is not in this code's catalogue; train again"
            )
        feature = CATALOGUE[name]
        by_bar = feature.clock == "bar" and max_bar_age_ms is not None
        limit = max_bar_age_ms if by_bar else round(feature.max_age_hours * HOUR_MS)
        bounds.append(Bound(name, feature.clock, int(limit or 0)))
    return (*bounds, Bound(WINDOW, "bar", bar_limit_ms))


def feature_ages(
    bounds: tuple[Bound, ...], known_at_ms: Mapping[str, int | None], now_ms: int
) -> tuple[FeatureAge, ...]:
    """Age each feature, and the window.

    Args:
        bounds: what `bounds_of` gave.
        known_at_ms: when the newest value by each clock was known (UTC, milliseconds).
        now_ms: the time (UTC, milliseconds).

    Raises:
        SchemaMismatchError: a feature's clock was not published.
    """
    ages = []
    for bound in bounds:
        known = known_at_ms.get(bound.clock)
        if known is None:
            raise SchemaMismatchError(
                f"{bound.name} is dated by the {bound.clock} clock, which was not published with it; publish "
                "again"
            )
        ages.append(FeatureAge(bound, now_ms - known))
    return tuple(ages)


def words_on_stale(ages: tuple[FeatureAge, ...]) -> str:
    """Name the features that are too old, those of equal age and bound together; empty where none is.

    >>> bound = Bound("basis_bp", "bar", 3 * HOUR_MS)
    >>> words_on_stale((FeatureAge(bound, 5 * HOUR_MS), FeatureAge(bound, 3 * HOUR_MS)))
    'basis_bp is 5.0 h old, the limit is 3 h'
    """
    alike: dict[tuple[int, int], list[str]] = {}
    for age in ages:
        if age.stale:
            alike.setdefault((age.age_ms, age.bound.limit_ms), []).append(age.bound.name)
    return "; ".join(
        f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} {age_ms / HOUR_MS:.1f} h old, "
        f"the limit is {limit_ms / HOUR_MS:g} h"
        for (age_ms, limit_ms), names in alike.items()
    )
