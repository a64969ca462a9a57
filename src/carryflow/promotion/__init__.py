"""Keep versions, judge a challenger, move the champion. Reads evidence; computes none."""
