"""How Binance says no: a code, a sentence, and an HTTP status."""

from carryflow.core.leg import Leg

_PLEASE = "Please use the websocket for live updates to avoid polling the API."


class Refusal(Exception):
    """Carry Binance's error code and message to the client, with the HTTP status they come with.

    `wait_seconds` is how long the client is asked not to come again; None: nobody asked that.
    """

    def __init__(self, code: int, message: str, status: int = 400, wait_seconds: int | None = None) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message
        self.status = status
        self.wait_seconds = wait_seconds


def too_many_requests(wait_seconds: int, limit: int) -> Refusal:
    """Say that this was a request over so many a minute."""
    words = f"Too many requests; current limit of IP(127.0.0.1) is {limit} requests per minute. {_PLEASE}"
    return Refusal(-1003, words, 429, wait_seconds)


def too_many_orders(wait_seconds: int, limit: int) -> Refusal:
    """Say that this was an order over so many in ten seconds."""
    words = f"Too many new orders; current limit is {limit} orders per 10 SECOND."
    return Refusal(-1015, words, 429, wait_seconds)


def banned(wait_seconds: int, now_ms: int) -> Refusal:
    """Say that an address that went on asking is answered no more."""
    until = now_ms + 1000 * wait_seconds
    words = f"Way too many requests; IP(127.0.0.1) banned until {until}. {_PLEASE}"
    return Refusal(-1003, words, 418, wait_seconds)


def under_maintenance() -> Refusal:
    """Say that the venue is closed for its upkeep."""
    return Refusal(-1016, "This service is no longer available. System is under maintenance.", 503)


def broken() -> Refusal:
    """Say that the venue does not know what went wrong."""
    return Refusal(-1000, "An unknown error occurred while processing the request.", 500)


def mandatory(name: str) -> Refusal:
    """Say that a parameter is missing."""
    return Refusal(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def illegal_characters(name: str, legal: str = "^[0-9]{1,20}$") -> Refusal:
    """Say that a parameter is not of the characters that it must be of; by default a whole number's."""
    return Refusal(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")


def invalid_symbol() -> Refusal:
    """Say that no such symbol is listed."""
    return Refusal(-1121, "Invalid symbol.")


def invalid_interval() -> Refusal:
    """Say that the venue has no bars of this length, or that its tape holds none as short as that."""
    return Refusal(-1120, "Invalid interval.")


def invalid_limit() -> Refusal:
    """Say that a futures endpoint does not give that many rows."""
    return Refusal(-1130, "Data sent for parameter 'limit' is not valid.")


def invalid_path(method: str, path: str) -> Refusal:
    """Say that the venue has no such endpoint."""
    return Refusal(-5000, f"Path {path}, Method {method} is invalid", status=404)


def unknown_key() -> Refusal:
    """Say that no account has this key."""
    return Refusal(-2015, "Invalid API-key, IP, or permissions for action.", status=401)


def filter_failure(name: str) -> Refusal:
    """Say that a spot order fails one of the market's filters."""
    return Refusal(-1013, f"Filter failure: {name}")


def invalid_parameter(what: str) -> Refusal:
    """Say that a spot order's quantity or price is not positive."""
    return Refusal(-1013, f"Invalid {what}.")


def not_required(name: str) -> Refusal:
    """Say that a parameter was sent that this kind of order does not know."""
    return Refusal(-1106, f"Parameter '{name}' sent when not required.")


def illegal_client_id(name: str) -> Refusal:
    """Say that an order's name is too long or has characters that it may not have."""
    return Refusal(
        -1100,
        f"Illegal characters found in parameter '{name}'; legal range is '^[a-zA-Z0-9-_]{{1,36}}$'.",
    )


def too_precise() -> Refusal:
    """Say that a quantity or a price has more decimals than the market."""
    return Refusal(-1111, "Precision is over the maximum defined for this asset.")


def market_closed(leg: Leg) -> Refusal:
    """Say that a market takes no orders now."""
    if leg == "spot":
        return Refusal(-1013, "Market is closed.")
    return Refusal(-4108, "Symbol is on delivering or delivered or settling or closed or pre-trading.")


def not_permitted() -> Refusal:
    """Say that nobody may trade this market."""
    return Refusal(-2010, "This symbol is not permitted for this account.")


def off_tick() -> Refusal:
    """Say that a perpetual order's price is not on the tick."""
    return Refusal(-4014, "Price not increased by tick size.")


def quantity_refused(least: bool) -> Refusal:
    """Say that a perpetual order is smaller than the smallest, or larger than the largest."""
    if least:
        return Refusal(-4004, "Quantity less than min quantity.")
    return Refusal(-4005, "Quantity greater than max quantity.")


def not_positive(what: str) -> Refusal:
    """Say that a perpetual order's quantity or price is not positive."""
    if what == "quantity":
        return Refusal(-4003, "Quantity less than or equal to zero.")
    return Refusal(-4001, "Price less than or equal to zero.")


def notional_too_small(least: str) -> Refusal:
    """Say that a perpetual order is worth less than the smallest."""
    return Refusal(
        -4164, f"Order's notional must be no smaller than {least} (unless you choose reduce only)."
    )


def price_too_far(side_buys: bool, bound: str) -> Refusal:
    """Say that a perpetual order's limit is further from the mark than it may be."""
    if side_buys:
        return Refusal(-4016, f"Limit price can't be higher than {bound}.")
    return Refusal(-4024, f"Limit price can't be lower than {bound}.")


def no_counterparty() -> Refusal:
    """Say that a perpetual market order would be filled too far from the mark."""
    return Refusal(-4131, "The counterparty's best price does not meet the PERCENT_PRICE filter limit.")


def duplicate_order(leg: Leg) -> Refusal:
    """Say that an open order has this name already."""
    if leg == "spot":
        return Refusal(-2010, "Duplicate order sent.")
    return Refusal(-4116, "ClientOrderId is duplicated.")


def insufficient_balance() -> Refusal:
    """Say that the spot wallet lacks the coins for an order."""
    return Refusal(-2010, "Account has insufficient balance for requested action.")


def insufficient_margin() -> Refusal:
    """Say that the futures wallet lacks the margin for an order."""
    return Refusal(-2019, "Margin is insufficient.")


def position_too_large() -> Refusal:
    """Say that the leverage is more than so large a position may have."""
    return Refusal(-2027, "Exceeded the maximum allowable position at current leverage.")


def leverage_too_small() -> Refusal:
    """Say that the futures wallet lacks the margin that a lower leverage asks for."""
    return Refusal(-2028, "Leverage is smaller than permitted: insufficient margin balance.")


def would_match(leg: Leg) -> Refusal:
    """Say that an order that must rest would be filled at once."""
    if leg == "spot":
        return Refusal(-2010, "Order would immediately match and take.")
    return Refusal(
        -5022,
        "Due to the order could not be executed as maker, the Post Only order will be rejected. The order "
        "will not be recorded in the order history",
    )


def reduce_only_rejected() -> Refusal:
    """Say that an order that may only reduce would open a position."""
    return Refusal(-2022, "ReduceOnly Order is rejected.")


def unknown_order(cancelling: bool) -> Refusal:
    """Say that there is no such order, or none that could be cancelled."""
    if cancelling:
        return Refusal(-2011, "Unknown order sent.")
    return Refusal(-2013, "Order does not exist.")


def invalid_leverage(leverage: int) -> Refusal:
    """Say that a leverage is none that the venue offers."""
    return Refusal(-4028, f"Leverage {leverage} is not valid")


def transfer_refused(reason: str) -> Refusal:
    """Say that coins cannot be moved between the wallets."""
    return Refusal(-5013, f"Asset transfer failed: {reason}")


def invalid_choice(name: str) -> Refusal:
    """Say that a parameter has a value that this market does not know."""
    words = {"timeInForce": (-1115, "Invalid timeInForce."), "type": (-1116, "Invalid orderType.")}
    return Refusal(*words[name])
