"""What the simulated exchange answers to who has an account: orders, balances, histories."""
