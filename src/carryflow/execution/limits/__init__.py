"""What stands outside the model: limits, margin, the kill switch, and who may trade at all."""
