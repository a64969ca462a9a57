"""Keys of an account: read from the environment, shown to nobody, and taken out of every text."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from carryflow.core.errors import SettingsError

_KEY, _SECRET, _PASSPHRASE = "CARRYFLOW_API_KEY", "CARRYFLOW_API_SECRET", "CARRYFLOW_API_PASSPHRASE"

_NAMED = re.compile(
    r"(?i)\b(signature|sign|sig|apikey|api_key|x-mbx-apikey|x-bapi-sign|x-bapi-api-key|ok-access-key|"
    r"ok-access-sign|ok-access-passphrase|listenkey|secret|client_secret|password|passphrase)"
    r"(['\"]?\s*[=:]\s*['\"]?)[^\s&'\",;}\])]+"
)

_LISTEN_KEY = re.compile(r"(/ws/)[A-Za-z0-9_-]{12,}(?![\w@-])")
"""A key to listen with in an address: Binance's test networks have it there; streams have an `@`."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Hold an API key; neither `repr` nor `str` shows any of it.

    Attributes:
        key: the key.
        secret: what requests are signed with.
        passphrase: the third part that some venues ask for; empty elsewhere.
    """

    key: str = field(repr=False)
    secret: str = field(repr=False)
    passphrase: str = field(default="", repr=False)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], *, passphrase: bool = False) -> Self:
        """Read the key from the environment; `passphrase` says whether the venue asks for one.

        Raises:
            SettingsError: a variable is missing; its value is never named.
        """
        needed = [_KEY, _SECRET] + ([_PASSPHRASE] if passphrase else [])
        missing = [name for name in needed if not environ.get(name, "").strip()]
        if missing:
            raise SettingsError(
                f"no key to trade with: set {' and '.join(missing)} in the environment (from no file that is "
                "kept with the code), with a key that may trade and may not withdraw"
            )
        return cls(environ[_KEY].strip(), environ[_SECRET].strip(), environ.get(_PASSPHRASE, "").strip())

    def sign_in(self, exchange: Any) -> None:
        """Let a ccxt exchange sign its requests with this key."""
        exchange.apiKey, exchange.secret, exchange.password = self.key, self.secret, self.passphrase or None


def scrub(text: str, credentials: Credentials | None = None) -> str:
    """Return a text without keys, secrets and signatures, whether they are named there or are these.

    >>> scrub("GET https://api/order?symbol=BTCUSDT&signature=0a1b2c&timestamp=1")
    'GET https://api/order?symbol=BTCUSDT&signature=***&timestamp=1'
    >>> scrub("{'X-MBX-APIKEY': 'abc'}", Credentials("abc", "def"))
    "{'X-MBX-APIKEY': '***'}"
    """
    if credentials is not None:
        for value in (credentials.secret, credentials.key, credentials.passphrase):
            if value:
                text = text.replace(value, "***")
    return _LISTEN_KEY.sub(r"\1***", _NAMED.sub(r"\1\2***", text))
