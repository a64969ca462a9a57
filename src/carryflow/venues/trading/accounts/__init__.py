"""One account at each venue, through ccxt: where their private answers differ."""
