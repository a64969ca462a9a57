"""What features are about."""

from feast import Entity, ValueType


def ticker() -> Entity:
    """Name the coin of a hedged trade, by the ticker of its base asset."""
    return Entity(
        name="ticker",
        join_keys=["ticker"],
        value_type=ValueType.STRING,
        description="Coin whose spot and perpetual make the two legs, such as BTC",
    )
