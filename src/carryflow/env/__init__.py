"""The market as an environment: two legs, one ledger, one account or many at once."""
