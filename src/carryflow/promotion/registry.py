"""The registry: immutable versions of bundles with their evidence, and two names that move among them.

```
root/
├── aliases.json            {"champion": id, "challenger": id, "history": [moves, oldest first]}
├── verdicts/<id>.json      the latest verdict on a version
└── versions/<id>/          read-only; the id is a hash of what is in it
    ├── bundle/
    └── evidence/
```

A process may be killed anywhere: a version is a folder that was renamed into place, aliases and their history
are one file that was replaced, and what a killed process left behind is swept by the next one.
"""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from carryflow.core.atomic import write_atomically
from carryflow.core.errors import RegistryError
from carryflow.promotion.verdict import Verdict

_VERDICT = TypeAdapter(Verdict)

INCOMING = ".incoming-"
"""Prefix of a version that is still being copied; under the lock, one that is found belongs to the dead."""


class Alias(StrEnum):
    """Name the roles that a version can have."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"


@dataclass(frozen=True, slots=True)
class Move:
    """Record that an alias moved.

    Attributes:
        at_ms: when (UTC, milliseconds); the caller's clock.
        alias: which alias.
        version: the version that it names from then on.
        previous: the version that it named before, None for the first.
        why: one line of reason.
    """

    at_ms: int
    alias: str
    version: str
    previous: str | None
    why: str


class Registry:
    """Keep versions and aliases under one folder; safe for several processes and for killed ones."""

    def __init__(self, root: Path) -> None:
        """Open the registry at `root`; nothing is written until something is registered."""
        self.root = root
        self._versions = root / "versions"
        self._aliases = root / "aliases.json"

    def register(self, bundle_dir: Path, evidence_dir: Path) -> str:
        """Copy a bundle and its evidence into a read-only version and give its id.

        The id is derived from the content: registering the same files again gives the same id and copies
        nothing.

        Raises:
            RegistryError: a folder is missing or empty.
        """
        sources = {"bundle": bundle_dir, "evidence": evidence_dir}
        for role, source in sources.items():
            if not source.is_dir() or not any(path.is_file() for path in source.rglob("*")):
                raise RegistryError(
                    f"no {role} in {source}: the folder is missing or empty; run that step first"
                )
        version = _content_id(sources)
        with self._lock():
            for dead in self._versions.glob(f"{INCOMING}*"):
                _remove(dead)
            if not (self._versions / version).exists():
                incoming = self._versions / f"{INCOMING}{version}"
                for role, source in sources.items():
                    shutil.copytree(source, incoming / role)
                _make_read_only(incoming)
                incoming.rename(self._versions / version)
        return version

    def assign(self, alias: Alias, version: str, *, at_ms: int, why: str) -> None:
        """Point an alias at a version and append the move to the history, in one replacement of one file.

        Pointing it where it points already changes nothing.

        Raises:
            RegistryError: there is no such version.
        """
        self.version_dir(version)
        with self._lock():
            stored = self._read()
            previous = stored.get(alias.value)
            if previous == version:
                return
            move = Move(at_ms, alias.value, version, previous, why)
            moved = stored | {alias.value: version, "history": [*stored.get("history", []), asdict(move)]}
            with write_atomically(self._aliases) as path:
                path.write_text(json.dumps(moved, indent=2) + "\n")

    def resolve(self, alias: Alias) -> str | None:
        """Give the version that an alias names, or None if it was never assigned.

        Raises:
            RegistryError: the alias names a version that is gone.
        """
        version = self._read().get(alias.value)
        if version is not None:
            self.version_dir(version)
        return version

    def history(self) -> tuple[Move, ...]:
        """Give every move of every alias, oldest first."""
        return tuple(Move(**move) for move in self._read().get("history", []))

    def versions(self) -> tuple[str, ...]:
        """Give the ids of all versions, sorted."""
        return tuple(sorted(path.name for path in self._versions.glob("*") if not path.name.startswith(".")))

    def version_dir(self, version: str) -> Path:
        """Give the folder of a version.

        Raises:
            RegistryError: there is no such version.
        """
        folder = self._versions / version
        if version not in self.versions():
            known = ", ".join(self.versions()) or "none"
            raise RegistryError(f"{self.root} has no version {version!r}; it has: {known}")
        return folder

    def bundle_dir(self, version: str) -> Path:
        """Give the folder of a version's bundle; raises as `version_dir` does."""
        return self.version_dir(version) / "bundle"

    def evidence_dir(self, version: str) -> Path:
        """Give the folder of a version's evidence; raises as `version_dir` does."""
        return self.version_dir(version) / "evidence"

    def verify(self, version: str) -> None:
        """Hash a version again.

        Raises:
            RegistryError: it is missing, or its content is no longer what its id says.
        """
        folder = self.version_dir(version)
        found = _content_id({role: folder / role for role in ("bundle", "evidence")})
        if found != version:
            raise RegistryError(
                f"version {version} was changed in place (its content hashes to {found}); "
                "restore it from a copy, or point the alias at another version"
            )

    def verdict(self, version: str) -> Verdict:
        """Read the latest verdict on a version.

        Raises:
            RegistryError: there is no such version, or it was never judged.
        """
        self.version_dir(version)
        path = self.verdict_path(version)
        if not path.is_file():
            raise RegistryError(f"version {version} was never judged; run the promotion step")
        try:
            return _VERDICT.validate_python(json.loads(path.read_text())["verdict"])
        except (ValueError, KeyError, TypeError) as error:
            raise RegistryError(f"{path} is no verdict; run the promotion step again") from error

    def record_verdict(self, version: str, outcome: Mapping[str, Any]) -> Path:
        """Write the latest verdict on a version, beside the versions, and give its path.

        Args:
            version: the version.
            outcome: an object with a key `verdict`, and whatever else belongs to the judging.

        Raises:
            RegistryError: there is no such version.
        """
        self.version_dir(version)
        target = self.verdict_path(version)
        with write_atomically(target) as path:
            path.write_text(json.dumps(outcome, indent=2) + "\n")
        return target

    def verdict_path(self, version: str) -> Path:
        """Give the path of the latest verdict on a version."""
        return self.root / "verdicts" / f"{version}.json"

    def _read(self) -> dict[str, Any]:
        """Read aliases and history, empty where nothing was ever assigned."""
        if not self._aliases.exists():
            return {}
        try:
            stored = json.loads(self._aliases.read_text())
        except ValueError as error:
            raise RegistryError(f"{self._aliases} is not JSON ({error}); restore it from a copy") from error
        if not isinstance(stored, dict):
            raise RegistryError(
                f"{self._aliases} must hold an object, was {type(stored).__name__}; restore it"
            )
        return stored

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Let one process at a time write; the kernel frees the lock of a process that dies."""
        self._versions.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _content_id(folders: Mapping[str, Path]) -> str:
    """Hash the names and contents of all files in the named folders to 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for role in sorted(folders):
        for path in sorted(path for path in folders[role].rglob("*") if path.is_file()):
            name = f"{role}/{path.relative_to(folders[role]).as_posix()}"
            digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def _make_read_only(folder: Path) -> None:
    """Take the write permission from every file and folder below, and from the folder."""
    for path in folder.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    folder.chmod(0o555)


def _remove(folder: Path) -> None:
    """Remove a folder that may be read-only in part."""
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)
