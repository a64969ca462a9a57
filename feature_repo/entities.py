"""What features are about: a coin, at a venue."""

from feast import Entity, ValueType


def ticker() -> Entity:
    """Name the coin of a hedged trade, by the ticker of its base asset."""
    return Entity(
        name="ticker",
        join_keys=["ticker"],
        value_type=ValueType.STRING,
        description="Coin whose spot and perpetual make the two legs, such as BTC",
    )


def venue() -> Entity:
    """Name the exchange whose bars and settlements the features were made of."""
    return Entity(
        name="venue",
        join_keys=["venue"],
        value_type=ValueType.STRING,
        description="Exchange that both legs trade at, such as binance",
    )
