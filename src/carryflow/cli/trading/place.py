"""Where an engine keeps its money's books: one folder a mode, below the home."""

import fcntl
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from carryflow.core.atomic import write_atomically
from carryflow.core.errors import SettingsError
from carryflow.execution.journal.records import Mode

if TYPE_CHECKING:
    from carryflow.settings import Settings

MODES = tuple(mode.value for mode in Mode)


def machine_ms() -> int:
    """Return this machine's clock, milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Request:
    """Ask to take risk in a ticker again, because of `reason`; the file goes once that was done."""

    file: Path
    ticker: str
    reason: str


@dataclass(frozen=True, slots=True)
class Place:
    """Name the files of one mode.

    ```
    <home>/execution/<mode>/
    ├── journal.db      what was wanted, done and seen
    ├── kill.json       the kill switch; no file: run
    ├── market/         bars that the signals and `carryflow parity` are computed from
    ├── past/           journals of simulated exchanges that ended with the command that had started them
    └── requests/       what a person asks of the running engine
    ```
    """

    mode: Mode
    folder: Path

    @classmethod
    def of(cls, settings: "Settings", mode: Mode) -> "Place":
        """Return the place of a mode in the settings' home."""
        return cls(mode, settings.home_dir / "execution" / mode.value)

    @property
    def journal(self) -> Path:
        """Return the path of the journal."""
        return self.folder / "journal.db"

    @property
    def kill(self) -> Path:
        """Return the path of the kill switch."""
        return self.folder / "kill.json"

    @property
    def market(self) -> Path:
        """Return the folder of fetched bars."""
        return self.folder / "market"

    @property
    def running(self) -> bool:
        """Say whether an engine holds the journal."""
        try:
            with self.journal.with_suffix(".lock").open("r") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

    @property
    def written_seconds_ago(self) -> float:
        """Return how long ago the journal was last written (seconds)."""
        written = [changed_ns / 1e9 for changed_ns, _ in self.written]
        return max(time.time() - max(written, default=time.time()), 0.0)

    @property
    def written(self) -> tuple[tuple[int, int], ...]:
        """Return when each of the journal's files was last written (ns since 1970), and its size (bytes)."""
        files = (self.journal, self.journal.with_name(f"{self.journal.name}-wal"))
        stats = [file.stat() for file in files if file.exists()]
        # whoever looks leaves an empty log behind
        return tuple((stat.st_mtime_ns, stat.st_size) for stat in stats if stat.st_size)

    def put_aside(self) -> Path | None:
        """Move the journal out of the way, to be looked at later; None: there is none.

        Raises:
            SettingsError: an engine holds it.
        """
        if not self.journal.exists():
            return None
        if self.running:
            raise SettingsError(
                f"another engine writes {self.journal}; stop it first, or give this one a home of its own"
            )
        kept = self.folder / "past" / f"journal-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.db"
        kept.parent.mkdir(parents=True, exist_ok=True)
        for suffix in ("", "-wal", "-shm"):
            file = self.journal.with_name(f"{self.journal.name}{suffix}")
            if file.exists():
                file.rename(kept.with_name(f"{kept.name}{suffix}"))
        return kept

    def ask_to_resume(self, ticker: str, reason: str) -> None:
        """Ask the engine, the running one or the next, to take risk in a ticker again."""
        with write_atomically(self.folder / "requests" / f"resume-{ticker}.json") as path:
            path.write_text(json.dumps({"ticker": ticker, "reason": reason}))

    def requests(self) -> "list[Request]":
        """Return what was asked and not done yet; what cannot be read is forgotten."""
        asked = []
        for file in sorted(self.folder.glob("requests/resume-*.json")):
            try:
                words = json.loads(file.read_text())
                asked.append(Request(file, str(words["ticker"]), str(words["reason"])))
            except (OSError, ValueError, KeyError, TypeError):
                file.unlink(missing_ok=True)
        return asked


def parse_mode(name: str) -> Mode:
    """Return the mode of this name.

    Raises:
        SettingsError: there is none.
    """
    if name not in MODES:
        raise SettingsError(f"--mode {name} is none of {', '.join(MODES)}")
    return Mode(name)


def find_place(settings: "Settings", mode: str | None) -> Place:
    """Return the place that is meant: of the mode that is named, or of the journal that was written last.

    Raises:
        SettingsError: no engine has run in this home, or not in this mode.
    """
    places = [Place.of(settings, parse_mode(name)) for name in ((mode,) if mode else MODES)]
    there = [place for place in places if place.journal.exists()]
    if not there:
        raise SettingsError(
            f"no engine has run{f' in mode {mode}' if mode else ''} in {settings.home_dir}; start one with "
            "`carryflow paper`, or name another home with -o home=…"
        )
    return min(there, key=lambda place: place.written_seconds_ago)
