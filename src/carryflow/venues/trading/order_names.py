"""Our names for the orders that a venue numbers."""

_MOST = 10_000
"""Orders of one market that are remembered; of older ones the venue is asked again."""


class OrderNames:
    """Remember the names of each market's latest orders by the venue's numbers for them."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._names: dict[str, dict[str, str | None]] = {}

    def learn(self, symbol: str, number: str, client_id: str | None) -> None:
        """Remember an order; None for one that is not ours."""
        names = self._names.setdefault(symbol, {})
        names.pop(number, None)
        names[number] = client_id
        if len(names) > self._most:
            del names[next(iter(names))]

    def known(self, symbol: str, numbers: set[str]) -> dict[str, str | None]:
        """Return the names of those of these orders that are remembered."""
        names = self._names.get(symbol, {})
        return {number: names[number] for number in numbers if number in names}
