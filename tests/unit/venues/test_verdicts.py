import aiohttp
import ccxt.async_support as ccxt
import pytest

from carryflow.core.errors import AmbiguousError, RejectedError, RetryableError, UnknownTickerError
from carryflow.venues.budget import Errand
from carryflow.venues.trading.accounts.account import Account, Codes
from carryflow.venues.trading.accounts.binance import BinanceAccount
from carryflow.venues.trading.accounts.bybit import BybitAccount
from carryflow.venues.trading.accounts.deribit import DeribitAccount
from carryflow.venues.trading.accounts.okx import OkxAccount
from carryflow.venues.trading.verdicts import codes_in, is_gone, verdict

CODES = BinanceAccount.codes


def answered(status: int, body: str) -> Errand:
    return Errand(sends=1, status=status, body=body)


def behind(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


SILENT = Errand(sends=1)

CASES = {
    "nothing was sent, for want of a connection": (
        ccxt.ExchangeNotAvailable("x"),
        Errand(),
        RetryableError,
        RetryableError,
    ),
    "nothing was sent, for it is wrong": (ccxt.InvalidOrder("x"), Errand(), RejectedError, RejectedError),
    "the connection was never made": (
        behind(ccxt.RequestTimeout("x"), aiohttp.ConnectionTimeoutError("x")),
        SILENT,
        RetryableError,
        RetryableError,
    ),
    "no answer in time": (ccxt.RequestTimeout("x"), SILENT, RetryableError, AmbiguousError),
    "connection closed": (
        behind(ccxt.ExchangeNotAvailable("x"), aiohttp.ServerDisconnectedError()),
        SILENT,
        RetryableError,
        AmbiguousError,
    ),
    "answer broken off": (
        behind(ccxt.ExchangeError("x"), aiohttp.ClientPayloadError()),
        SILENT,
        RetryableError,
        AmbiguousError,
    ),
    "5xx": (ccxt.ExchangeNotAvailable("x"), answered(502, "<html>"), RetryableError, AmbiguousError),
    "5xx with a code that would be a refusal": (
        ccxt.ExchangeNotAvailable("x"),
        answered(503, '{"code":-1008,"msg":"x"}'),
        RetryableError,
        AmbiguousError,
    ),
    "request timed out there": (ccxt.RequestTimeout("x"), answered(408, ""), RetryableError, AmbiguousError),
    "JSON that is cut off": (
        ccxt.BadResponse("x"),
        answered(200, '{"code":-2010'),
        RetryableError,
        AmbiguousError,
    ),
    "an answer that lacks what it should hold": (
        KeyError("x"),
        answered(200, "{}"),
        RetryableError,
        AmbiguousError,
    ),
    "status unknown": (
        ccxt.RequestTimeout("x"),
        answered(400, '{"code":-1007}'),
        RetryableError,
        AmbiguousError,
    ),
    "name in use, spot": (
        ccxt.InvalidOrder("x"),
        answered(400, '{"code":-2010,"msg":"Duplicate order sent."}'),
        RejectedError,
        AmbiguousError,
    ),
    "name in use, futures": (
        ccxt.InvalidOrder("x"),
        answered(400, '{"code":-4116,"msg":"ClientOrderId is duplicated."}'),
        RejectedError,
        AmbiguousError,
    ),
    "5xx that repeats what an earlier answer said of the name": (
        ccxt.ExchangeNotAvailable("x"),
        answered(503, '{"code":-2010,"msg":"Duplicate order sent."}'),
        RetryableError,
        AmbiguousError,
    ),
    "the second request of one errand never left": (
        behind(ccxt.ExchangeNotAvailable("x"), aiohttp.ConnectionTimeoutError("x")),
        Errand(sends=2),
        RetryableError,
        AmbiguousError,
    ),
    "the second request of one errand came too often": (
        ccxt.RateLimitExceeded("x"),
        Errand(sends=2, status=429, body='{"code":-1003}'),
        RetryableError,
        AmbiguousError,
    ),
    "a ban that stopped the second request of one errand": (
        RejectedError("banned"),
        answered(200, "{}"),
        RejectedError,
        AmbiguousError,
    ),
    "too late": (ccxt.InvalidNonce("x"), answered(400, '{"code":-1021}'), RetryableError, RetryableError),
    "too often": (ccxt.DDoSProtection("x"), answered(429, '{"code":-1003}'), RetryableError, RetryableError),
    "in maintenance": (ccxt.OnMaintenance("x"), answered(400, '{"code":-1}'), RetryableError, RetryableError),
    "wrong key, though ccxt takes it for a ban": (
        ccxt.DDoSProtection("x"),
        answered(401, '{"code":-2015}'),
        RejectedError,
        RejectedError,
    ),
    "too little money": (
        ccxt.InsufficientFunds("x"),
        answered(400, '{"code":-2019}'),
        RejectedError,
        RejectedError,
    ),
    "a page that forbids": (
        ccxt.OperationRejected("x"),
        answered(403, "<html>"),
        RejectedError,
        RejectedError,
    ),
    "no such market": (
        ccxt.BadSymbol("x"),
        answered(400, '{"code":-1121}'),
        UnknownTickerError,
        UnknownTickerError,
    ),
    "a ban that the budget knows": (RejectedError("banned"), Errand(), RejectedError, RejectedError),
}


@pytest.mark.pitfall("P11")
@pytest.mark.parametrize(("error", "errand", "of_read", "of_change"), CASES.values(), ids=list(CASES))
def test_a_failure_means_what_is_known_of_it(
    error: Exception, errand: Errand, of_read: type[Exception], of_change: type[Exception]
) -> None:
    assert type(verdict(error, errand, CODES, "x", changes=False)) is of_read
    assert type(verdict(error, errand, CODES, "x", changes=True)) is of_change


@pytest.mark.parametrize(
    ("account", "body", "of_change"),
    [
        (BybitAccount, '{"retCode":10016,"retMsg":"Internal server error"}', AmbiguousError),
        (BybitAccount, '{"retCode":110072,"retMsg":"OrderLinkedID is duplicate"}', AmbiguousError),
        (BybitAccount, '{"retCode":10006,"retMsg":"Too many visits!"}', RetryableError),
        (BybitAccount, '{"retCode":110007,"retMsg":"ab not enough for new order"}', RejectedError),
        (OkxAccount, '{"code":"50004","data":[],"msg":"Endpoint request timeout"}', AmbiguousError),
        (OkxAccount, '{"code":"1","data":[{"sCode":"51016","sMsg":"Duplicated"}]}', AmbiguousError),
        (OkxAccount, '{"code":"50011","data":[],"msg":"Too Many Requests"}', RetryableError),
        (OkxAccount, '{"code":"1","data":[{"sCode":"51008","sMsg":"balance"}]}', RejectedError),
        (DeribitAccount, '{"error":{"code":13888,"message":"timed_out"}}', AmbiguousError),
        (DeribitAccount, '{"error":{"code":10028,"message":"too_many_requests"}}', RetryableError),
        (DeribitAccount, '{"error":{"code":10009,"message":"not_enough_funds"}}', RejectedError),
    ],
)
def test_other_venues_answer_in_their_own_codes(
    account: type[Account], body: str, of_change: type[Exception]
) -> None:
    told = verdict(ccxt.ExchangeError("x"), answered(200, body), account.codes, "x", changes=True)
    assert type(told) is of_change


@pytest.mark.parametrize(
    ("codes", "status", "body", "gone"),
    [
        (CODES, 400, '{"code":-2013,"msg":"Order does not exist."}', True),
        (CODES, 400, '{"code":-2011,"msg":"Unknown order sent."}', True),
        (CODES, 400, '{"code":-2011,"msg":"Order was not canceled due to cancel restrictions."}', False),
        (CODES, 503, '{"code":-2013,"msg":"Order does not exist."}', False),
        (CODES, 400, '{"code":-2013,"msg":"Order do', False),
        (BybitAccount.codes, 200, '{"retCode":110001,"retMsg":"order not exists"}', True),
        (OkxAccount.codes, 200, '{"code":"51603","data":[],"msg":"Order does not exist"}', True),
    ],
)
def test_only_a_whole_answer_says_that_there_is_no_such_order(
    codes: Codes, status: int, body: str, gone: bool
) -> None:
    assert is_gone(ccxt.ExchangeError("x"), answered(status, body), codes) is gone


def test_a_cancel_that_spot_refuses_is_no_missing_order_though_ccxt_calls_it_so() -> None:
    restricted = answered(400, '{"code":-2011,"msg":"Order was not canceled due to cancel restrictions."}')
    assert not is_gone(ccxt.OrderNotFound("x"), restricted, CODES)
    assert type(verdict(ccxt.OrderNotFound("x"), restricted, CODES, "x", changes=True)) is RejectedError


def test_an_errand_knows_only_the_answer_to_its_last_request() -> None:
    errand = Errand()
    errand.begin()
    errand.end(200, "{}")
    errand.begin()
    assert (errand.sends, errand.status, errand.body) == (2, None, "")


def test_an_error_names_the_way_out() -> None:
    told = verdict(ccxt.RequestTimeout("x"), SILENT, CODES, "could not send it", changes=True)
    assert str(told) == "could not send it; it is not known what came of it: ask before sending again"
    assert codes_in("") == frozenset()
