"""Who may trade: both switches of real money, a key that cannot take it away, a clock that is right."""

from carryflow.core.errors import SettingsError
from carryflow.execution.journal.records import Mode
from carryflow.execution.orders import KeyPermissions
from carryflow.execution.settings import ExecutionSettings


def require_switches(mode: Mode, live_flag: bool, settings: ExecutionSettings) -> None:
    """Refuse real money unless both of its switches are on.

    Args:
        mode: paper, sandbox or live.
        live_flag: whether the command was given `--live`.
        settings: where the other switch is.

    Raises:
        SettingsError: one is off, or the flag was given for other money.
    """
    if mode is not Mode.LIVE:
        if live_flag:
            raise SettingsError(
                f"--live was given to trade {mode} money; leave it away, or choose live trading"
            )
        return
    if not settings.live:
        raise SettingsError(
            "execution.live is false, so that nothing trades real money; set it to true if that is meant"
        )
    if not live_flag:
        raise SettingsError(
            "execution.live is true, but the command was not given --live; give it if real money is meant"
        )


def require_key(mode: Mode, permissions: KeyPermissions | None) -> None:
    """Refuse a key that can take money away, or that cannot trade.

    Args:
        mode: paper, sandbox or live; paper sends nothing, and needs no key.
        permissions: what the key may do; None: the venue does not tell.

    Raises:
        SettingsError: it can, or it cannot, or with real money at stake it is not known.
    """
    if mode is Mode.PAPER:
        return
    if permissions is None:
        if mode is Mode.LIVE:
            raise SettingsError(
                "the venue does not tell whether this key can withdraw; such a key trades no real money"
            )
        return
    if permissions.withdraw:
        raise SettingsError(
            "this key can withdraw; make one at the venue that can trade and nothing else, and use that"
        )
    if not permissions.trade:
        raise SettingsError("this key cannot trade spot and futures; allow both for it at the venue")


def require_clock(skew_ms: int, settings: ExecutionSettings) -> None:
    """Refuse a clock that is further from the venue's than it may be.

    Args:
        skew_ms: the venue's clock less ours.
        settings: where the bound is.

    Raises:
        SettingsError: it is.
    """
    bound = settings.limits.max_clock_skew_ms
    if abs(skew_ms) > bound:
        raise SettingsError(
            f"this clock is {abs(skew_ms)} ms {'behind' if skew_ms > 0 else 'ahead of'} the venue's, and may "
            f"be {bound} ms off (execution.limits.max_clock_skew_ms); set it by NTP"
        )
