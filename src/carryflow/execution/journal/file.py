"""The file that a journal lives in: who holds it, whose it is, which version wrote it."""

import fcntl
import sqlite3
from dataclasses import fields
from pathlib import Path
from typing import IO

from carryflow.core.errors import SchemaMismatchError, SettingsError
from carryflow.execution.journal.records import Identity
from carryflow.execution.journal.schema import APPLICATION_ID, IDENTITY, TABLES, VERSION

_PAGE_BYTES = 2_048
"""Small ones: a record changes few bytes of each page that it touches, and the disk takes whole pages."""

_CHECKPOINT_PAGES = 8_000
"""Log (pages) after which SQLite copies it into the file by itself; statements do it long before."""


def claim(path: Path) -> IO[str]:
    """Hold a journal for this process until what is returned is closed; one that dies lets go of it.

    Raises:
        SettingsError: another engine holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    held = path.with_suffix(".lock").open("a")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        held.close()
        raise SettingsError(
            f"another engine writes {path}; stop it first, or give this one a home of its own"
        ) from error
    return held


def connect(path: Path, identity: Identity) -> sqlite3.Connection:
    """Open a journal to write it; begin it if there is none.

    Raises:
        SchemaMismatchError: it is no journal, or was written by another version.
    """
    db = sqlite3.connect(path, isolation_level=None)
    try:
        if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            _begin(db, identity)
        _require_version(path, db)
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    except BaseException:
        db.close()
        raise
    return db


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Open a journal that nobody here may change.

    Raises:
        SettingsError: there is none.
        SchemaMismatchError: it is no journal, or was written by another version.
    """
    if not path.is_file():
        raise SettingsError(f"no journal at {path}; name the home of an engine that has run")
    # read-only in SQLite's own sense could not look into the log of a writer that crashed
    db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, isolation_level=None)
    try:
        db.execute("PRAGMA query_only = ON")
        _require_version(path, db)
    except BaseException:
        db.close()
        raise
    return db


def require_same(path: Path, known: Identity, wanted: Identity) -> None:
    """Refuse the journal of other money.

    Raises:
        SettingsError: it is; both are named.
    """
    other = [
        f"{field.name} is {getattr(known, field.name)} there and {getattr(wanted, field.name)} here"
        for field in fields(Identity)
        if field.name != "opened_ms" and getattr(known, field.name) != getattr(wanted, field.name)
    ]
    if other:
        raise SettingsError(
            f"{path} is the journal of other money: {'; '.join(other)}; name another home, or the settings "
            "that began it"
        )


def _begin(db: sqlite3.Connection, identity: Identity) -> None:
    """Lay out an empty file, whole or not at all."""
    db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("BEGIN IMMEDIATE")
    for statement in TABLES.split(";"):
        db.execute(statement)
    db.execute(IDENTITY.insert, IDENTITY.row(identity))
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {VERSION}")
    db.execute("COMMIT")


def _require_version(path: Path, db: sqlite3.Connection) -> None:
    try:
        application, version = (
            db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
    except sqlite3.DatabaseError as error:
        raise SchemaMismatchError(f"{path} is no journal ({error}); name another home") from error
    if application != APPLICATION_ID or version != VERSION:
        raise SchemaMismatchError(
            f"{path} is no journal of version {VERSION} (application {application:#x}, version {version}); "
            "name another home, or read it with the carryflow that wrote it"
        )
