"""What a failed request says of what was asked: nothing happened, it may have happened, or never will.

| what came | of a read | of an order, a cancel, a transfer |
|---|---|---|
| it never left: a refused connection, no address, a local check | Retryable or Rejected | the same |
| no answer: a timeout, a connection closed, a cancelled task | Retryable | Ambiguous |
| an answer that is none: 5xx, 408, cut off, not JSON | Retryable | Ambiguous |
| the venue does not know itself (Binance −1006, −1007 ...) | Retryable | Ambiguous |
| an order of this name is there already | Rejected | Ambiguous: an earlier sending arrived |
| asked too often, too late (429, −1003, −1015, −1021 ...), in maintenance | Retryable | Retryable |
| any other refusal, a wrong signature or key (−1022, −2015 ...) with them | Rejected | Rejected |
| banned (418) | Rejected | Rejected |
| anything, of the second request of one errand | as above | Ambiguous: the first may have done it |
"""

import json
import re
import socket
from enum import Enum

import aiohttp
import ccxt.async_support as ccxt

from carryflow.core.errors import (
    AmbiguousError,
    CarryflowError,
    RejectedError,
    RetryableError,
    UnknownTickerError,
    VenueError,
)
from carryflow.venues.budget import Errand
from carryflow.venues.trading.accounts.account import Codes

_CODE = re.compile(r'"(?:retCode|sCode|code)"\s*:\s*"?(-?\d+)')
_NEVER_LEFT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, socket.gaierror)
_NOTHING_DONE = (
    ccxt.DDoSProtection,
    ccxt.RateLimitExceeded,
    ccxt.InvalidNonce,
    ccxt.OnMaintenance,
)
_NO_ANSWER = (ccxt.OperationFailed, ccxt.BadResponse, ccxt.NullResponse)


def codes_in(body: str) -> frozenset[str]:
    """Return the venue's codes in an answer; one that is cut off tells none.

    >>> sorted(codes_in('{"code":"1","data":[{"sCode":"51016","sMsg":"Duplicated client order ID"}]}'))
    ['1', '51016']
    >>> codes_in('{"code":-2013,"msg":"Order do')
    frozenset()
    """
    try:
        json.loads(body)
    except ValueError:
        return frozenset()
    return frozenset(_CODE.findall(body))


def is_gone(error: Exception, errand: Errand, codes: Codes) -> bool:
    """Say whether the venue answered that there is no such order."""
    said, text = _said(errand), errand.body.lower()
    if any(code in said and words not in text for code, words in codes.gone_with.items()):
        return False
    told = _is_refusal(errand) and bool(said & (codes.gone | codes.gone_with.keys()))
    return told or isinstance(error, ccxt.OrderNotFound)


class _Outcome(Enum):
    """Say what a failure tells of what was asked."""

    NOT_SENT = "nothing was sent: check the connection and try again"
    NOT_SENDABLE = "nothing was sent: asking again changes nothing"
    UNCLEAR = "it is not known what came of it: ask before sending again"
    DUPLICATE = "an order of this name is there already: ask what became of it"
    NO_ENTRY = "nothing was done: look at the key, its permissions and its addresses"
    LATER = "nothing was done: try again later"
    REFUSED = "nothing was done: asking again changes nothing"


_OF_CHANGES: dict[_Outcome, type[VenueError]] = {
    _Outcome.NOT_SENT: RetryableError,
    _Outcome.NOT_SENDABLE: RejectedError,
    _Outcome.UNCLEAR: AmbiguousError,
    _Outcome.DUPLICATE: AmbiguousError,
    _Outcome.NO_ENTRY: RejectedError,
    _Outcome.LATER: RetryableError,
    _Outcome.REFUSED: RejectedError,
}
_OF_READS = _OF_CHANGES | {_Outcome.UNCLEAR: RetryableError, _Outcome.DUPLICATE: RejectedError}


def verdict(error: Exception, errand: Errand, codes: Codes, words: str, *, changes: bool) -> CarryflowError:
    """Return the error that says what a failure means.

    Args:
        error: what ccxt, or we, raised.
        errand: what is known of the request.
        codes: what the venue's codes mean.
        words: who failed at what, for the message; without secrets.
        changes: whether the request was to change something at the venue.
    """
    done = errand.status is not None and errand.status < 400 and isinstance(error, CarryflowError)
    if changes and (errand.sends > 1 or done):
        return AmbiguousError(f"{words}; {_Outcome.UNCLEAR.value}")
    if isinstance(error, CarryflowError):
        return error
    if isinstance(error, ccxt.BadSymbol):
        return UnknownTickerError(f"{words}; set data.tickers")
    outcome = _outcome(error, errand, codes)
    return (_OF_CHANGES if changes else _OF_READS)[outcome](f"{words}; {outcome.value}")


def _outcome(error: Exception, errand: Errand, codes: Codes) -> _Outcome:
    """Return what a failure tells; the first row that fits counts."""
    said = _said(errand)
    ours = not isinstance(error, ccxt.BaseError)
    left = errand.sends > 0 and not isinstance(error.__cause__, _NEVER_LEFT)
    rows = (
        (not left and (ours or isinstance(error, ccxt.OperationFailed)), _Outcome.NOT_SENT),
        (not left, _Outcome.NOT_SENDABLE),
        (bool(said & codes.unclear), _Outcome.UNCLEAR),
        (bool(said & codes.duplicate) or _is_duplicate(errand), _Outcome.DUPLICATE),
        (not _is_refusal(errand), _Outcome.UNCLEAR),
        (bool(said & codes.refused), _Outcome.NO_ENTRY),
        (bool(said & codes.later), _Outcome.LATER),
        (isinstance(error, _NOTHING_DONE), _Outcome.LATER),
        (ours or isinstance(error, _NO_ANSWER), _Outcome.UNCLEAR),
    )
    return next((outcome for fits, outcome in rows if fits), _Outcome.REFUSED)


def _is_duplicate(errand: Errand) -> bool:
    """Say whether a refusal is for a name in use: Binance's spot market has no code of its own for it."""
    return errand.status == 400 and "duplicate order sent" in errand.body.lower()


def _said(errand: Errand) -> frozenset[str]:
    return codes_in(errand.body) if errand.body else frozenset()


def _is_refusal(errand: Errand) -> bool:
    """Say whether a whole answer came that is not the venue's own failure."""
    return errand.status is not None and errand.status < 500 and errand.status != 408
