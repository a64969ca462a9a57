"""What all tests here count into, and the counts at the end."""

import pytest

from tests.fault.tally import Tally

_TALLY = pytest.StashKey[Tally]()


@pytest.fixture(scope="session")
def tally(pytestconfig: pytest.Config) -> Tally:
    """Return what every test of this folder counts into."""
    return pytestconfig.stash.setdefault(_TALLY, Tally())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the counts."""
    tally = config.stash.get(_TALLY, None)
    if tally is not None and tally.trials:
        terminalreporter.section("faults")
        for line in tally.lines():
            terminalreporter.write_line(line)
