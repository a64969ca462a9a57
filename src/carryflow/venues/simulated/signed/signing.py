"""Who may ask what: API keys, signatures over the very words of a request, and its time."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from decimal import Decimal
from urllib.parse import parse_qsl

from carryflow.venues.simulated import refusals
from carryflow.venues.simulated.pace import Pace
from carryflow.venues.simulated.refusals import Refusal

KEY_HEADER = "X-MBX-APIKEY"

_NUMBER = re.compile(r"^([0-9]{1,20})(\.[0-9]{1,20})?$")
_AHEAD_MS = 1000
_USUAL_WINDOW_MS = 5000
_LONGEST_WINDOW_MS = 60_000


class Params:
    """Read a request's parameters, and refuse what is missing or malformed in Binance's words."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    @classmethod
    def of(cls, *texts: str) -> "Params":
        """Read `name=value&name=value` texts; of a name sent twice the last one counts."""
        return cls({name: value for text in texts for name, value in parse_qsl(text, keep_blank_values=True)})

    def text(self, name: str, otherwise: str | None = None) -> str:
        """Return a parameter as it was sent.

        Raises:
            Refusal: it was not sent, and there is no `otherwise`.
        """
        value = self._values.get(name, "")
        if value:
            return value
        if otherwise is None:
            raise refusals.mandatory(name)
        return otherwise

    def optional(self, name: str) -> str | None:
        """Return a parameter; None where it was not sent."""
        return self._values.get(name) or None

    def whole(self, name: str, otherwise: int | None = None) -> int:
        """Return a whole number that is not negative.

        Raises:
            Refusal: it is none, or it was not sent and there is no `otherwise`.
        """
        text = self.text(name, None if otherwise is None else str(otherwise))
        if not (text.isascii() and text.isdigit() and len(text) <= 20):
            raise refusals.illegal_characters(name)
        return int(text)

    def optional_whole(self, name: str) -> int | None:
        """Return a whole number; None where it was not sent."""
        return self.whole(name) if self.optional(name) else None

    def decimal(self, name: str) -> Decimal:
        """Return an exact number.

        Raises:
            Refusal: it is none, is longer than Binance takes, or was not sent.
        """
        text = self.text(name)
        if not _NUMBER.fullmatch(text):
            raise refusals.illegal_characters(name, _NUMBER.pattern)
        return Decimal(text)

    def flag(self, name: str) -> bool:
        """Return whether a parameter says true; one that was not sent does not."""
        return self.text(name, "false").lower() == "true"


class Keyring:
    """Hold the API keys that the venue has given out."""

    def __init__(self) -> None:
        self._secrets: dict[str, str] = {}

    def add(self, key: str, secret: str) -> None:
        """Accept a key from now on."""
        self._secrets[key] = secret

    def __contains__(self, key: str) -> bool:
        """Say whether a key has been given out."""
        return key in self._secrets

    def knows(self, key: str | None) -> str:
        """Return a key that was sent, if it is one of ours.

        Raises:
            Refusal: there was none, or nobody has it. The key is not repeated.
        """
        if not key:
            raise Refusal(-2014, "API-key format invalid.", status=401)
        if key not in self._secrets:
            raise Refusal(-2015, "Invalid API-key, IP, or permissions for action.", status=401)
        return key

    def check(self, key: str | None, query: str, body: str, pace: Pace) -> tuple[str, Params]:
        """Return the key and the parameters of a signed request, the texts being what was sent.

        Raises:
            Refusal: the key is unknown, the time is missing or out of its window, or the signature is wrong.
        """
        params = Params.of(query, body)
        return self._verified(key, _unsigned(query) + _unsigned(body), params, pace), params

    def check_message(self, sent: Mapping[str, object], pace: Pace) -> tuple[str, Params]:
        """Return the key and the parameters of a signed message of the websocket API.

        What is signed are its parameters as words, sorted by their names, none encoded.

        Raises:
            Refusal: as of a request.
        """
        values = {name: _word(value) for name, value in sent.items()}
        signed = "&".join(f"{name}={values[name]}" for name in sorted(values) if name != "signature")
        params = Params(values)
        return self._verified(values.get("apiKey"), signed, params, pace), params

    def _verified(self, key: str | None, signed: str, params: Params, pace: Pace) -> str:
        """Return the key of who has signed this text."""
        known = self.knows(key)
        signature = params.text("signature")
        require_recent(params, pace)
        right = hmac.new(self._secrets[known].encode(), _bytes(signed), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(right.encode(), _bytes(signature)):
            raise Refusal(-1022, "Signature for this request is not valid.")
        return known


def require_recent(params: Params, pace: Pace) -> None:
    """Do nothing if a request is no older than its window and not from the future.

    A client's own delay takes as much more of the venue's time as that runs faster than the machine's, so
    both bounds are widened by it.

    Raises:
        Refusal: it is too old or too new, says no time, or asks for too wide a window.
    """
    sent_ms, now_ms = params.whole("timestamp"), pace.now_ms()
    window_ms = params.whole("recvWindow", _USUAL_WINDOW_MS)
    if window_ms > _LONGEST_WINDOW_MS:
        raise Refusal(-1131, f"recvWindow must be less than {_LONGEST_WINDOW_MS}.")
    if sent_ms >= now_ms + _AHEAD_MS * pace.slowness:
        raise Refusal(-1021, f"Timestamp for this request was {_AHEAD_MS}ms ahead of the server's time.")
    if now_ms - sent_ms > window_ms * pace.slowness:
        raise Refusal(-1021, "Timestamp for this request is outside of the recvWindow.")


def _word(value: object) -> str:
    """Return a value of a message as it is signed.

    >>> _word("1.50"), _word(1600000000000), _word(True), _word(None)
    ('1.50', '1600000000000', 'true', '')
    """
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _bytes(text: str) -> bytes:
    """Return what is signed of a text, in which JSON may have put halves of characters."""
    return text.encode(errors="surrogatepass")


def _unsigned(text: str) -> str:
    """Return what was signed of a text: all but its signature.

    >>> _unsigned("symbol=BTCUSDT&timestamp=1&signature=ab"), _unsigned("a=1&signature=ab&b=2")
    ('symbol=BTCUSDT&timestamp=1', 'a=1&b=2')
    """
    return "&".join(pair for pair in text.split("&") if not pair.startswith("signature="))
