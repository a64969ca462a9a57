"""What a venue's answer means: rules laid over ccxt's own, where those are too kind or too harsh.

- Whatever is not whole JSON is no answer: ccxt would hand on the text.
- 5xx is no answer, either, whatever code its JSON names: ccxt counts some codes as refusals.
- A refusal (4xx) is final: ccxt counts 403, 404 and 451 among the networks that may come back.
- 429 pauses everybody for as long as the venue asks.
- 418 is a ban: nobody asks any more until it ends, since asking makes it longer.
- A minute of which most is used up is left to orders and cancels.
- ccxt's limiter spaces questions out; orders and cancels are counted by it and do not queue.
- No text of an error repeats a key or a signature.
"""

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import ccxt.async_support as ccxt

from carryflow.core.errors import RejectedError, RetryableError
from carryflow.venues.budget import Priority, RequestBudget, current_errand, retry_after_seconds
from carryflow.venues.credentials import scrub

_MAY_COME_BACK = frozenset({408, 418, 425, 429})
_BANNED_UNTIL = re.compile(r"banned until (\d{13})")
_USED_WEIGHT = ("X-MBX-USED-WEIGHT-1M", "x-mbx-used-weight-1m")


@dataclass(frozen=True, slots=True)
class MinuteCount:
    """Say when a venue's count of requests in a minute is nearly used up.

    Attributes:
        limits: weight of requests that it takes in a minute, by a part of their addresses.
        share: fraction of the limit from which on no questions are asked.
    """

    limits: Mapping[str, int]
    share: float = 0.8

    def used_up(self, url: str, headers: Mapping[str, str]) -> bool:
        """Say whether an answer tells of so much weight that the rest is kept for orders and cancels."""
        used = next((headers[name] for name in _USED_WEIGHT if name in headers), "")
        limit = next((most for path, most in self.limits.items() if path in url), None)
        return limit is not None and used.isdigit() and int(used) >= self.share * limit


def read_strictly(
    exchange: Any, budget: RequestBudget, longest_pause_seconds: float, minute: MinuteCount | None = None
) -> None:
    """Send every request of one ccxt exchange through a budget, and read its answers by these rules."""
    _take_turns(exchange, budget)
    send: Callable[..., Awaitable[Any]] = exchange.fetch
    classify: Callable[..., None] = exchange.handle_http_status_code
    exchange.logger = _quiet_logger()

    async def fetch(*args: Any, **kwargs: Any) -> Any:
        errand = current_errand()
        if errand is not None:
            errand.begin()
        return await send(*args, **kwargs)

    def on_rest_response(
        code: int, reason: str, url: str, method: str, headers: Mapping[str, str], body: str, *_: Any
    ) -> str:
        errand = current_errand()
        if errand is not None:
            errand.end(code, body)
        if code in {418, 429}:
            _obey(exchange.id, code, headers, body, budget, longest_pause_seconds)
        elif minute is not None and minute.used_up(url, headers):
            budget.hold(60 - exchange.milliseconds() / 1000 % 60)
        if code >= 500:
            raise ccxt.ExchangeNotAvailable(scrub(f"{exchange.id} {code} {reason} {body[:120]} {url}"))
        text = body.strip()
        if code == 200 and text[:1] not in {"{", "["}:
            words = f"{exchange.id} {method} {url} answered without JSON: {text[:60]!r}"
            raise ccxt.BadResponse(scrub(words))
        return text

    def parse_json(text: str) -> Any:
        if text[:1] not in {"{", "["}:
            return None
        try:
            return exchange.on_json_response(text)
        except ValueError as problem:
            raise ccxt.BadResponse(f"{exchange.id} answered with JSON that is cut off: {problem}") from None

    def handle_http_status_code(code: int, reason: str, url: str, method: str, body: str) -> None:
        if 400 <= code < 500 and code not in _MAY_COME_BACK:
            raise ccxt.OperationRejected(scrub(f"{exchange.id} {code} {reason} {body[:120]} {url}"))
        classify(code, reason, url, method, body)

    exchange.fetch = fetch
    exchange.on_rest_response = on_rest_response
    exchange.parse_json = parse_json
    exchange.handle_http_status_code = handle_http_status_code


def read_refusal(exchange: Any, status: int, url: str, headers: Mapping[str, str], body: str) -> NoReturn:
    """Raise what an answer means that is no success and did not come by HTTP, as if it had.

    Args:
        exchange: the ccxt exchange that reads by these rules.
        status: what would have been its HTTP status.
        url: the address of the same request over HTTP, by which ccxt knows whose codes it holds.
        headers: what HTTP would have told beside it.
        body: the error as JSON.

    Raises:
        ccxt.BaseError: what ccxt makes of it.
        RejectedError: the venue has banned this address.
        RetryableError: it asks to be left alone for longer than the settings allow.
    """
    text = exchange.on_rest_response(status, "", url, "POST", headers, body)
    exchange.handle_errors(status, "", url, "POST", headers, text, exchange.parse_json(text), {}, None)
    exchange.handle_http_status_code(status, "", url, "POST", text)
    raise ccxt.BadResponse(scrub(f"{exchange.id} {url} answered {status} {text[:120]}"))


def _take_turns(exchange: Any, budget: RequestBudget) -> None:
    """Let every request wait for ccxt's limiter, if it is a question, and then for a place in the budget."""
    ask: Callable[..., Awaitable[Any]] = exchange.fetch2
    wait_for_limiter: Callable[[float], Awaitable[None]] = exchange.throttle

    async def fetch2(
        path: str,
        api: Any = "public",
        method: str = "GET",
        params: Any = None,
        headers: Any = None,
        body: Any = None,
        config: Any = None,
    ) -> Any:
        """Wait before the request is signed: what is signed grows old."""
        params, config = params or {}, config or {}
        errand = current_errand()
        if exchange.enableRateLimit:
            # a text where the exchange hands on numbers unread, which would end the limiter for good
            cost = float(exchange.calculate_rate_limiter_cost(api, method, path, params, config))
            if errand is None or errand.priority is Priority.QUESTION:
                await wait_for_limiter(cost)
            else:
                exchange.throttler(cost)  # queued, so that the questions after it wait the longer
        async with budget.turn():
            return await ask(path, api, method, params, headers, body, config)

    async def throttle(cost: Any = None) -> None:
        """Do nothing: the limiter was asked before a place was taken."""

    exchange.fetch2 = fetch2
    exchange.throttle = throttle


def _quiet_logger() -> logging.Logger:
    """Return where ccxt may log: at level DEBUG it would write every request with its key and signature."""
    logger = logging.getLogger("carryflow.venues.ccxt")
    logger.setLevel(logging.INFO)
    return logger


def _obey(
    name: str, code: int, headers: Mapping[str, str], body: str, budget: RequestBudget, longest: float
) -> None:
    """Pause or stop everybody, as a 429 or a 418 says."""
    asked = {key.lower(): value for key, value in headers.items()}.get("retry-after")
    seconds = retry_after_seconds(asked)
    until = datetime.now(UTC) + timedelta(seconds=seconds or 0.0)
    if code == 418:
        stamped = _BANNED_UNTIL.search(body)
        if stamped:
            until = datetime.fromtimestamp(int(stamped.group(1)) / 1000, UTC)
            if seconds is None:
                seconds = max(0.0, (until - datetime.now(UTC)).total_seconds())
        when = (
            f"{until:%Y-%m-%d %H:%M:%S} UTC" if stamped or seconds is not None else "a time it does not name"
        )
        words = (
            f"{name} has banned this address until {when} (HTTP 418); nothing more is asked, because asking "
            "makes a ban longer: fetch again after it, with fewer venue.requests_in_flight"
        )
        budget.ban(words, seconds)
        raise RejectedError(words)
    if seconds is not None and seconds > longest:
        raise RetryableError(
            f"{name} asks to be left alone until {until:%Y-%m-%d %H:%M:%S} UTC (HTTP 429, {seconds:g} s), "
            f"longer than venue.longest_pause_seconds={longest:g}; fetch again then: what was fetched is kept"
        )
    budget.pause(seconds or 0.0)
