"""What signed endpoints have in common: who asks is known before anything is answered."""

from collections.abc import Callable
from typing import Any

from aiohttp import web

from carryflow.venues.simulated.misbehaviour import Handler
from carryflow.venues.simulated.signed.desk import DESK, TradingDesk
from carryflow.venues.simulated.signed.signing import KEY_HEADER, Params
from carryflow.venues.simulated.trading.accounts import VenueAccount

Signed = Callable[[TradingDesk, VenueAccount, Params], Any]
"""Answer a client's request; its signature has been checked, and the floor is in step with the clock."""


def signed(answer: Signed) -> Handler:
    """Return a handler that answers only those who have signed."""

    async def handler(request: web.Request) -> web.StreamResponse:
        account, params = await authenticate(request)
        return web.json_response(answer(request.app[DESK], account, params))

    return handler


def keyed(answer: Callable[[TradingDesk, VenueAccount], Any]) -> Handler:
    """Return a handler that answers whoever names a key, without a signature."""

    async def handler(request: web.Request) -> web.StreamResponse:
        desk = request.app[DESK]
        account = desk.account(desk.keyring.knows(request.headers.get(KEY_HEADER)))
        return web.json_response(answer(desk, account))

    return handler


async def authenticate(request: web.Request) -> tuple[VenueAccount, Params]:
    """Return who has signed a request, and its parameters.

    Raises:
        Refusal: nobody, or not rightly; see `Keyring.check`.
    """
    desk = request.app[DESK]
    body = await request.text() if request.body_exists else ""
    key, params = desk.keyring.check(
        request.headers.get(KEY_HEADER), request.rel_url.raw_query_string, body, desk.pace
    )
    return desk.account(key), params
