"""The keys that open the stream of an account."""

import secrets
from dataclasses import dataclass

from carryflow.venues.simulated.pace import Pace
from carryflow.venues.simulated.refusals import Refusal

_LIFE_MS = 3_600_000


@dataclass(slots=True)
class _Lent:
    """Hold the key of one account's stream, and when it was last asked for (UTC ms)."""

    listen_key: str
    renewed_ms: int


class ListenKeys:
    """Lend every account one key, which is worth nothing an hour after it was last asked for or renewed.

    The hour is the venue's. In a clock that runs faster it is as much longer, since clients renew their keys
    by their own clock.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._lent: dict[str, _Lent] = {}

    def lend(self, account_key: str) -> str:
        """Return an account's listen key, the same until it is given up or has expired."""
        lent = self._lent.get(account_key)
        if lent is None or self._is_over(lent):
            lent = self._lent[account_key] = _Lent(secrets.token_hex(32), 0)
        lent.renewed_ms = self._pace.now_ms()
        return lent.listen_key

    def renew(self, account_key: str) -> str:
        """Let an account's listen key live for another hour, and return it.

        Raises:
            Refusal: −1125, there is none any more.
        """
        lent = self._lent.get(account_key)
        if lent is None or self._is_over(lent):
            raise unknown_listen_key()
        return self.lend(account_key)

    def give_up(self, account_key: str) -> None:
        """Let an account have no listen key."""
        self._lent.pop(account_key, None)

    def owner(self, listen_key: str) -> str | None:
        """Return whose key it is; None where it is nobody's any more."""
        for account_key, lent in self._lent.items():
            if lent.listen_key == listen_key and not self._is_over(lent):
                return account_key
        return None

    def take_expired(self) -> dict[str, str]:
        """Return the listen keys that have expired since the last call, by the key of their account."""
        over = {key: lent.listen_key for key, lent in self._lent.items() if self._is_over(lent)}
        for account_key in over:
            del self._lent[account_key]
        return over

    def _is_over(self, lent: _Lent) -> bool:
        return self._pace.now_ms() - lent.renewed_ms >= _LIFE_MS * self._pace.slowness


def unknown_listen_key() -> Refusal:
    """Say that a listen key opens nothing."""
    return Refusal(-1125, "This listenKey does not exist.", status=401)
