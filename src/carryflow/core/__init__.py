"""The pure domain: money, funding, costs, margin, hedge and the one ledger. Knows no other room."""
