"""What the market said, in tidy tables, and when it was known. Knows only the core."""
