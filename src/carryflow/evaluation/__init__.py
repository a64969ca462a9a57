"""Score policies on hours they have not seen, beside honest baselines. Reads ledgers and bundles, not ray."""
