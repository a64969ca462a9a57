"""Who is told when something is wrong."""

from collections.abc import Callable

from carryflow.execution.journal.records import Alert

Alarm = Callable[[Alert], None]
"""Tells a person. It must not raise, and must not wait."""
