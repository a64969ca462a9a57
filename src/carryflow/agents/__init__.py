"""The policies: four experts, the gate over them, and the bundle they travel in. Torch and no ray."""
