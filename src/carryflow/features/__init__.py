"""Features: what a policy may know at a decision, computed by one code in training and in serving."""
