"""The first look at an account: what each coin is given, and cash moved to where it is needed."""

from collections.abc import Sequence
from decimal import ROUND_DOWN, Decimal

from carryflow.core.errors import RetryableError, SettingsError
from carryflow.execution.cashier import Cashier
from carryflow.execution.journal.records import Opening
from carryflow.execution.orders import Balances, Wallet
from carryflow.execution.world import World

_CENT = Decimal("0.01")


async def open_account(world: World, tickers: Sequence[str]) -> Opening:
    """Divide the capital equally among the coins, and write down what there was before.

    Raises:
        SettingsError: the account has less than the capital, or holds a position in one of the coins.
        VenueError: the venue does not tell, however often it is asked for `unknown_seconds`.
    """
    identity, quote = world.journal.identity, world.venue.quote
    capital, share = identity.capital_quote, Decimal(repr(identity.spot_share))
    until_ms = world.clock.now_ms() + round(world.settings.unknown_seconds * 1_000)
    while True:
        try:
            balances = await _look(world, tickers)
            break
        except RetryableError:
            if world.clock.now_ms() >= until_ms:
                raise
            await world.clock.sleep(world.settings.poll_seconds)
    there = balances.spot_free.get(quote, Decimal(0)) + balances.futures
    if there < capital:
        raise SettingsError(
            f"the account has {there} {quote} in both wallets, less than execution.capital_quote, which "
            f"is {capital}; pay in, or trade with less"
        )
    each = (capital / len(tickers)).quantize(_CENT, ROUND_DOWN)
    spot = (each * share).quantize(_CENT, ROUND_DOWN)
    opening = Opening(balances, dict.fromkeys(tickers, (spot, each - spot)))
    world.journal.record_opening(opening)
    return opening


async def _look(world: World, tickers: Sequence[str]) -> Balances:
    """Return what is in the wallets of an account on which nobody trades these coins.

    Raises:
        SettingsError: somebody does.
        VenueError: the venue does not tell.
    """
    for position in await world.venue.positions():
        if position.ticker in tickers:
            raise SettingsError(
                f"the account holds {position.qty} of the {position.ticker} perpetual that nobody here has "
                "bought; close it, or leave the ticker out of data.tickers"
            )
    for order in await world.venue.open_orders():
        if order.ticker in tickers:
            raise SettingsError(
                f"the account has an open {order.leg} order of {order.ticker} ({order.venue_order_id}); "
                "cancel it, or leave the ticker out of data.tickers"
            )
    return await world.venue.balances()


async def fund_wallets(world: World, opening: Opening, cashier: Cashier) -> bool:
    """Move cash so that each wallet has what the coins were given of it; say whether it has.

    What was moved before counts, so that a start after a crash moves what is missing, and no more.
    """
    quote, balances = world.venue.quote, opening.balances
    spot, futures = (sum(given, Decimal(0)) for given in zip(*opening.allotment.values(), strict=True))
    missing = {
        Wallet.SPOT: spot - balances.spot_free.get(quote, Decimal(0)) - world.books.foreign_spot,
        Wallet.FUTURES: futures - balances.futures - world.books.foreign_futures,
    }
    for wallet, amount in missing.items():
        if amount > 0 and not await cashier.move(None, amount, wallet):
            return False
    return True
