"""How Binance says no: a code, a sentence, and an HTTP status."""


class Refusal(Exception):
    """Carry Binance's error code and message to the client, with the HTTP status they come with."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message
        self.status = status


def mandatory(name: str) -> Refusal:
    """Say that a parameter is missing."""
    return Refusal(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def illegal_characters(name: str) -> Refusal:
    """Say that a parameter that must be a whole number is not."""
    return Refusal(
        -1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'."
    )


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
