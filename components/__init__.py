"""KFP components: thin shells, each around one function of `carryflow`."""
