"""The feature store: features published once, joined as they were known, and read by the server."""
