"""Execution settings for a venue whose clock runs faster than the machine's."""

from carryflow.execution.settings import ExecutionSettings, LimitSettings

_MACHINE_PACED = (
    "maker_wait_seconds",
    "hedge_seconds",
    "unwind_seconds",
    "unknown_seconds",
    "poll_seconds",
    "dead_man_seconds",
)
"""Times that bound how fast machines and networks are."""

_LIMITS_PACED = ("max_feed_age_seconds",)

RECONCILE_SECONDS = 1.0
"""Least pause between two reconciliations (seconds of the machine): they cost requests."""


def paced(settings: ExecutionSettings, speed: float) -> ExecutionSettings:
    """Return settings in seconds of a venue whose clock runs `speed` times as fast as ours.

    A network is as fast as ever, so that every bound on it is worth so many times as much of the venue's
    time. What the market and the funding do is not touched.

    >>> paced(ExecutionSettings(hedge_seconds=10), 720.0).hedge_seconds
    7200.0
    """
    if speed <= 1.0:
        return settings
    times = {name: getattr(settings, name) * speed for name in _MACHINE_PACED}
    limits: LimitSettings = settings.limits.model_copy(
        update={
            **{name: getattr(settings.limits, name) * speed for name in _LIMITS_PACED},
            "max_clock_skew_ms": round(settings.limits.max_clock_skew_ms * speed),
        }
    )
    return settings.model_copy(
        update={
            **times,
            "order_valid_ms": round(settings.order_valid_ms * speed),
            "reconcile_seconds": max(settings.reconcile_seconds, RECONCILE_SECONDS * speed),
            "limits": limits,
        }
    )
