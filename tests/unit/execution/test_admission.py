"""Who may trade, and with what."""

import pytest

from carryflow.core.errors import SettingsError
from carryflow.execution.journal.records import Mode
from carryflow.execution.limits.admission import require_clock, require_key, require_switches
from carryflow.execution.orders import KeyPermissions
from carryflow.execution.settings import ExecutionSettings

OFF, ON = ExecutionSettings(), ExecutionSettings(live=True)


def test_real_money_needs_both_switches_and_each_is_named() -> None:
    with pytest.raises(SettingsError, match=r"execution\.live is false"):
        require_switches(Mode.LIVE, True, OFF)
    with pytest.raises(SettingsError, match="not given --live"):
        require_switches(Mode.LIVE, False, ON)
    with pytest.raises(SettingsError, match=r"execution\.live is false"):
        require_switches(Mode.LIVE, False, OFF)
    require_switches(Mode.LIVE, True, ON)


@pytest.mark.parametrize("mode", [Mode.PAPER, Mode.SANDBOX])
@pytest.mark.parametrize("settings", [OFF, ON])
def test_other_money_needs_no_switch_and_takes_no_flag(mode: Mode, settings: ExecutionSettings) -> None:
    require_switches(mode, False, settings)
    with pytest.raises(SettingsError, match="--live was given"):
        require_switches(mode, True, settings)


@pytest.mark.parametrize("mode", [Mode.SANDBOX, Mode.LIVE])
def test_a_key_that_can_withdraw_or_cannot_trade_is_refused(mode: Mode) -> None:
    with pytest.raises(SettingsError, match="can withdraw"):
        require_key(mode, KeyPermissions(trade=True, withdraw=True))
    with pytest.raises(SettingsError, match="cannot trade"):
        require_key(mode, KeyPermissions(trade=False, withdraw=False))
    require_key(mode, KeyPermissions(trade=True, withdraw=False))


def test_a_key_of_which_nothing_is_known_trades_no_real_money() -> None:
    with pytest.raises(SettingsError, match="does not tell"):
        require_key(Mode.LIVE, None)
    require_key(Mode.SANDBOX, None)


def test_paper_needs_no_key() -> None:
    require_key(Mode.PAPER, None)
    require_key(Mode.PAPER, KeyPermissions(trade=False, withdraw=True))


@pytest.mark.pitfall("P20")
@pytest.mark.parametrize("sign", [1, -1])
def test_a_clock_more_than_half_a_second_off_is_refused(sign: int) -> None:
    require_clock(sign * 499, OFF)
    require_clock(sign * 500, OFF)
    with pytest.raises(SettingsError, match=r"501 ms (behind|ahead of) the venue's.*500 ms off"):
        require_clock(sign * 501, OFF)
