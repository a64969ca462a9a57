"""What every trading environment must keep to, tried on markets that are made to expose it."""
