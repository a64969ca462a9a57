"""Files that are either whole or not there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkstemp


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Lend a temporary path in the folder of `path`; move it onto `path` when the block ends well.

    A reader sees the old file or the new one, never a half: the bytes reach the disk before the name
    moves. If the block raises, `path` stays as it was and the temporary file goes. A missing folder is
    made. The temporary name keeps the suffix of `path`, because some writers choose a format by it.

    Raises:
        FileNotFoundError: the block removed the temporary file instead of writing it.

    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)  # mkstemp makes it private, and other users' processes read the results
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
