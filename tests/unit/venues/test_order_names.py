from carryflow.venues.trading.order_names import OrderNames


def test_the_latest_orders_of_each_market_are_remembered_and_no_more() -> None:
    names = OrderNames(most=2)
    for number, name in (("1", "cf-a"), ("2", None), ("1", "cf-a"), ("3", "cf-c")):
        names.learn("BTC/USDT", number, name)
    names.learn("ETH/USDT", "2", "cf-e")
    assert names.known("BTC/USDT", {"1", "2", "3", "4"}) == {"1": "cf-a", "3": "cf-c"}
    assert names.known("ETH/USDT", {"1", "2"}) == {"2": "cf-e"}
    assert names.known("SOL/USDT", {"1"}) == {}
