"""Monitoring: metrics, drift of the features, and errors told to somebody."""
