"""The kill switch: a file that stops the engine, with every model, store and network down."""

import asyncio
import json
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from carryflow.core.atomic import write_atomically
from carryflow.core.lock import lock
from carryflow.execution.ports import Clock


class Level(IntEnum):
    """Say how far the engine is stopped. At none does an order that is under way stay without an end."""

    RUN = 0  # not at all
    PAUSE = 1  # positions stay as they are: no decision is acted on
    REDUCE = 2  # positions only get smaller: of decisions, those are acted on that make them so
    FLATTEN = 3  # everything is closed


SIGNALS = {
    signal.SIGUSR1: Level.PAUSE,
    signal.SIGUSR2: Level.REDUCE,
    signal.SIGQUIT: Level.FLATTEN,
}
"""What each signal asks for."""


@dataclass(frozen=True, slots=True)
class Kill:
    """Hold what was asked for, why, by whom and when (UTC ms)."""

    level: Level
    reason: str
    by: str
    at_ms: int


RUNNING = Kill(Level.RUN, "", "", 0)
"""What holds while nobody asked for anything."""


class KillSwitch:
    """Read and write the switch; every process that knows the path may.

    A file that is there and cannot be read was meant to stop something. It counts as `REDUCE`: going on as
    if nothing were asked would ignore a person, and closing everything at the market's price because a disk
    hiccups costs money that no person has decided to spend. `Kill.by` is then "kill switch", and the engine
    tells somebody.

    Args:
        path: the file; no file: run.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._known = RUNNING
        self._unwritten = RUNNING

    def level(self) -> Level:
        """Return what holds now; it costs one look at the file's time unless that has changed."""
        return self.current().level

    def current(self) -> Kill:
        """Return what holds now, with its reason."""
        written = self._written()
        return written if written.level >= self._unwritten.level else self._unwritten

    def set(self, level: Level, reason: str, by: str, at_ms: int) -> Kill:
        """Ask for a level, on disk when this returns; return what holds then.

        What holds is never made less by this: of two who ask, the one who asks for more is heard.

        Raises:
            OSError: the disk refuses.
        """
        with self._alone():
            known = self.current()
            if level < known.level:
                return known
            with write_atomically(self.path) as path:
                path.write_text(json.dumps({"level": level.name, "reason": reason, "by": by, "at_ms": at_ms}))
        return Kill(level, reason, by, at_ms)

    def clear(self) -> None:
        """Let the engine run again."""
        self._unwritten = RUNNING
        with self._alone():
            self.path.unlink(missing_ok=True)

    def install(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> Callable[[], None]:
        """Let signals ask for levels (`SIGNALS`); return what takes the handlers away again."""
        for number, level in SIGNALS.items():
            loop.add_signal_handler(number, self._signalled, number, level, clock)

        def uninstall() -> None:
            for number in SIGNALS:
                loop.remove_signal_handler(number)

        return uninstall

    def _alone(self) -> AbstractContextManager[None]:
        """Hold the switch: between a look at it and a change of it nobody else may change it."""
        return lock(self.path.with_suffix(".lock"))

    def _signalled(self, number: signal.Signals, level: Level, clock: Clock) -> None:
        reason, at_ms = f"signal {number.name}", clock.now_ms()
        try:
            self.set(level, reason, "signal", at_ms)
        except OSError:  # a full disk stops nobody from stopping: it holds until this process ends
            self._unwritten = Kill(level, reason, "signal", at_ms)

    def _written(self) -> Kill:
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            self._seen, self._known = None, RUNNING
            return RUNNING
        except OSError as error:
            return self._unreadable(error, 0)
        seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if seen != self._seen:
            self._known = self._read(stat.st_mtime_ns // 1_000_000)
            self._seen = seen
        return self._known

    def _read(self, changed_ms: int) -> Kill:
        try:
            known = json.loads(self.path.read_text())
            return Kill(Level[known["level"]], str(known["reason"]), str(known["by"]), int(known["at_ms"]))
        except FileNotFoundError:
            return RUNNING
        except (OSError, ValueError, KeyError, TypeError) as error:
            return self._unreadable(error, changed_ms)

    def _unreadable(self, error: Exception, changed_ms: int) -> Kill:
        words = f"{self.path} cannot be read ({error!r}): ask again with `carryflow halt`, or remove it"
        return Kill(Level.REDUCE, words, "kill switch", changed_ms)
