"""Machine code that is compiled once, and again when anything that it calls has changed."""

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TypeVar, cast

from numba import config, njit

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Compile `function` with numba (nopython) and keep the machine code on disk between processes.

    numba's own cache looks only at the file that a function stands in, so that it would go on running
    yesterday's ledger inside today's environment. Here the code is stamped with the sources of this room
    and of the function's own, which hold all that a kernel may call.
    """
    dispatcher = njit(function)
    if config.DISABLE_JIT:
        return function
    try:
        dispatcher.enable_caching()
    except RuntimeError:  # nowhere to write: a read-only image compiles in every process
        return cast(Function, dispatcher)
    stamp = (_sources(Path(__file__).parent), _sources(Path(function.__code__.co_filename).parent))
    # numba offers no public way to widen the stamp; a test holds this line to what it promises
    dispatcher._cache._cache_file._source_stamp = stamp
    return cast(Function, dispatcher)


@lru_cache
def _sources(room: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(room.glob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
