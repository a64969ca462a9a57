"""From a target to two filled legs: intents, the pair's states, the journal, limits, reconciliation."""
