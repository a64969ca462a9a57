"""Learning: PPO on the hedged trade with RLlib. The only room that knows ray."""
