"""One pair: its states, its orders, and the work that keeps its legs together."""
