"""The commands that trade: paper, trade, flatten, and those that look at and stop what trades."""
