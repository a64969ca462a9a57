"""What Gymnasium's `check_env` cannot know: whether a trading environment tells the truth about money.

`check_trading_env` plays an environment, ours or one derived from it, on markets made to expose the faults
that flatter a policy: a cost that is paid nowhere, funding that depends on the size of the bars, a window
that sees tomorrow, a margin that is never called. Each fault raises an error that names its likely cause.
"""

import numpy as np

from carryflow.core.instrument import ContractType
from carryflow.env.check.books import check_books
from carryflow.env.check.costs import check_fees, check_slippage
from carryflow.env.check.funding import check_funding
from carryflow.env.check.information import check_look_ahead, check_randomness
from carryflow.env.check.orders import check_actions, check_halts, check_reset
from carryflow.env.check.risk import check_hedge, check_margin
from carryflow.env.check.trial import MakeEnv, Trial
from carryflow.env.settings import EnvSettings
from carryflow.features.spec import FeatureSpec

CHECKS = (
    check_books,
    check_fees,
    check_slippage,
    check_hedge,
    check_funding,
    check_halts,
    check_margin,
    check_randomness,
    check_look_ahead,
    check_reset,
    check_actions,
)
"""What is tried, in this order."""


def check_trading_env(
    make: MakeEnv,
    *,
    tickers: int = 1,
    spec: FeatureSpec | None = None,
    kind: ContractType = ContractType.LINEAR,
    settings: EnvSettings | None = None,
    seed: int = 0,
) -> None:
    """Try an environment for faults that Gymnasium's `check_env` cannot see; silence means none was found.

    - books: the parts of profit in `info` explain every change of equity, to 1e-9 of capital;
    - reward: its terms in `info` add up to it, and without the prices of risk they are the change of equity;
    - fees: every notional traded pays its fee;
    - slippage: a fill loses what its book says;
    - funding: in bars of a minute to a day, or with bars missing, each row pays the settlements since the row
      before to the position held there: those above 0, whose perpetual is short, receive a positive rate;
    - halts: a coin that is halted is not traded;
    - hedge: no more coins than the coarser lot are without one, and equity does not move with the price;
    - margin: a squeeze beyond the maintenance margin terminates the episode, be it a wick between two rows;
    - randomness: a seed fixes everything, and no generator outside the environment is used;
    - look-ahead: other rows after any instant change nothing told up to it, not by a bit;
    - reset: no step is taken before it;
    - actions: NaN, infinite and out-of-range ones are refused, each number of them, and change nothing;
    - info, observation: what the checks look at is there, and every number is finite.

    Args:
        make: gives the environment for some tapes and settings.
        tickers: how many tapes to give it.
        spec: features of the tapes; None: two without meaning, three bars at once.
        kind: whether their perpetuals are linear or inverse.
        settings: what to try it with; costs, hysteresis, limits, margin and episodes are set by each check as
            it needs them.
        seed: of the markets and the actions tried.

    Raises:
        InvariantBroken: a fault was found; the message begins with the check's name, and says what differed,
            where, and the likely cause.

    """
    spec = spec or FeatureSpec(("first", "second"), 3)
    trial = Trial(make, tickers, spec, kind, settings or EnvSettings())
    for check in CHECKS:
        check(trial, np.random.default_rng(seed))
