"""Markets under stress: scenarios as data, and how each changes what the market says."""
