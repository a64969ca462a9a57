"""What a step is doing, a line at a time; who runs the step finds these lines by their mark."""

MARK = "▸ "


def narrate(line: str) -> None:
    """Print one line of progress to standard output, marked and at once."""
    print(f"{MARK}{line}", flush=True)  # noqa: T201 - a step's standard output is its voice
