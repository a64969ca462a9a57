"""KFP graphs."""
