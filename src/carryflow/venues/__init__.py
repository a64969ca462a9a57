"""Where prices come from: real exchanges through ccxt, and a simulated one that speaks Binance's protocol."""
