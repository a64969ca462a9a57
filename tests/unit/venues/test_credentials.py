import pickle
from typing import Any

import pytest

from carryflow.core.errors import SettingsError
from carryflow.venues.credentials import Credentials, scrub

ENVIRON = {"CARRYFLOW_API_KEY": " the-key ", "CARRYFLOW_API_SECRET": "the-secret"}


def test_a_key_is_read_from_the_environment_and_shown_by_nothing() -> None:
    credentials = Credentials.from_environment(ENVIRON)
    assert (credentials.key, credentials.secret, credentials.passphrase) == ("the-key", "the-secret", "")
    for shown in (repr(credentials), str(credentials), f"{credentials}", repr([credentials])):
        assert "the-" not in shown


@pytest.mark.parametrize(
    ("environ", "passphrase", "missing"),
    [
        ({}, False, "CARRYFLOW_API_KEY and CARRYFLOW_API_SECRET"),
        (ENVIRON | {"CARRYFLOW_API_SECRET": "  "}, False, "CARRYFLOW_API_SECRET"),
        (ENVIRON, True, "CARRYFLOW_API_PASSPHRASE"),
    ],
)
def test_what_is_missing_is_named_and_what_is_there_is_not(
    environ: dict[str, str], passphrase: bool, missing: str
) -> None:
    with pytest.raises(SettingsError, match=f"set {missing} in the environment") as failure:
        Credentials.from_environment(environ, passphrase=passphrase)
    assert "the-" not in str(failure.value)


@pytest.mark.parametrize(
    "text",
    [
        "GET https://api/order?signature=5ecre7",
        "{'X-MBX-APIKEY': '5ecre7', 'Content-Type': 'text'}",
        '{"OK-ACCESS-PASSPHRASE":"5ecre7"}',
        "wss://fstream/private/ws?listenKey=5ecre7&x=1",
        "wss://demo-fstream.binance.com/ws/5ecre7abc123XYZ",
        "Authorization: deri-hmac-sha256 id=1,ts=2,sig=5ecre7,nonce=3",
        "X-BAPI-SIGN: 5ecre7",
        "client_secret=5ecre7",
    ],
)
def test_what_is_named_as_a_secret_is_taken_out_of_a_text(text: str) -> None:
    assert "5ecre7" not in scrub(text)
    assert "***" in scrub(text)


def test_what_is_a_secret_is_taken_out_wherever_it_stands() -> None:
    mine = Credentials("k3y", "53cret", "pa55")
    assert scrub("k3y/53cret: pa55", mine) == "***/***: ***"
    for harmless in ("symbol=BTCUSDT&side=BUY", "wss://fstream.binance.com/ws/btcusdt@markPrice@1s"):
        assert scrub(harmless, mine) == harmless


def test_an_exchange_is_signed_in_with_the_three_parts() -> None:
    class Exchange:
        apiKey: Any = None
        secret: Any = None
        password: Any = None

    exchange = Exchange()
    pickle.loads(pickle.dumps(Credentials("k", "s", "p"))).sign_in(exchange)  # noqa: S301 - our own
    assert (exchange.apiKey, exchange.secret, exchange.password) == ("k", "s", "p")
