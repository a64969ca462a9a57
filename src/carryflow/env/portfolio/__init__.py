"""One capital over several coins: their accounts share a wallet, a limit and a fate."""
