"""Trading through ccxt: one account of a venue, in the words of the engine."""
