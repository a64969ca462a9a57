"""Machine code that is compiled once, and again when anything that it calls has changed."""

import hashlib
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar, cast, overload

from numba import config, njit, typeof

Function = TypeVar("Function", bound=Callable[..., object])


@overload
def compiled(function: Function) -> Function: ...


@overload
def compiled(*, allocates: bool = ..., inlined: bool = ...) -> Callable[[Function], Function]: ...


def compiled(
    function: Function | None = None, *, allocates: bool = False, inlined: bool = False
) -> Function | Callable[[Function], Function]:
    """Compile `function` with numba (nopython) and keep the machine code on disk between processes.

    numba's own cache looks only at the file that a function stands in, so that it would go on running
    yesterday's ledger inside today's environment. Here the code is stamped with the sources of this room
    and of the function's own, which hold all that a kernel may call.

    Args:
        function: what to compile; it divides by zero as IEEE 754 says, to an infinity or NaN.
        allocates: say so if it makes arrays of its own. One that only fills what it is given is compiled
            without numba's counting of references, which costs an account as much as a step's arithmetic;
            numba refuses one that makes arrays all the same. Then a division by zero is an error.
        inlined: copy its code to wherever it is called from: a call hands over seven numbers an array, which
            costs as much as a small function itself.

    """
    if function is None:
        return partial(_compile, allocates=allocates, inlined=inlined)
    return _compile(function, allocates, inlined)


def machine_code(function: Callable[..., Any], *arguments: Any) -> Callable[..., Any]:
    """Return what a compiled function is for arguments of these types, without numba's look at each call's.

    That look costs 0.07 µs an argument, which of a call that takes 5 µs is dear. Whoever calls answers for
    the types: what lies in an array of another type would be read, and written, as if it were of this one.
    """
    if config.DISABLE_JIT:
        return function
    types = tuple(typeof(argument) for argument in arguments)
    dispatcher = cast(Any, function)
    dispatcher.compile(types)
    return cast(Callable[..., Any], dispatcher.overloads[types].entry_point)


def _compile(function: Function, allocates: bool, inlined: bool) -> Function:
    if allocates:
        dispatcher = njit(function, forceinline=inlined)
    else:
        dispatcher = njit(function, error_model="numpy", _nrt=False, forceinline=inlined)
    if config.DISABLE_JIT:
        return function
    try:
        dispatcher.enable_caching()
    except RuntimeError:  # nowhere to write: a read-only image compiles in every process
        return cast(Function, dispatcher)
    stamp = (_sources(Path(__file__).parent), _sources(_room_of(Path(function.__code__.co_filename))))
    # numba offers no public way to widen the stamp; a test holds this line to what it promises
    dispatcher._cache._cache_file._source_stamp = stamp
    return cast(Function, dispatcher)


def _room_of(file: Path) -> Path:
    """Climb from a file to its room, the folder right below the outermost package (or that package)."""
    room = file.parent
    while all((above / "__init__.py").is_file() for above in (room.parent, room.parent.parent)):
        room = room.parent
    return room


@lru_cache
def _sources(room: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(room.rglob("*.py")):
        digest.update(str(file.relative_to(room)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
