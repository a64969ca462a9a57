"""A position series on many tapes at once: the stretches between trades in closed form."""
