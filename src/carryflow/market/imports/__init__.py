"""Market data that people already have, brought into the market's own tables: dumps, feather files, CSV."""
