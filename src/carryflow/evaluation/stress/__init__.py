"""What policies do under stress: played, judged, and shown."""
