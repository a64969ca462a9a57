"""The trading floor of the simulated exchange: accounts, orders, matching and margin, without any HTTP."""
