"""A feature of one's own: a function in a file, before it has a place in the catalogue."""

import sys
from collections.abc import Callable
from difflib import get_close_matches
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carryflow.core.errors import CarryflowError, SettingsError
from carryflow.features.alignment import AlignedHours

CustomFeature = Callable[[AlignedHours], NDArray[np.float64]]
"""From the bars of a ticker to one number per bar (n,), NaN while its window fills."""


def load_feature(reference: str) -> tuple[str, CustomFeature]:
    """Load a function by `path/to/file.py:function`, and give its name with it.

    The file is run, as any module is; it may import what is installed and nothing that lies beside it.

    Raises:
        SettingsError: the reference is no such thing, the file is not there or cannot be run, or has no such
            function.

    """
    where, colon, name = reference.rpartition(":")
    if not colon or not where.endswith(".py") or not name.isidentifier():
        raise SettingsError(f"a feature is told as path/to/file.py:function, was {reference!r}")
    path = Path(where).expanduser()
    if not path.is_file():
        raise SettingsError(f"there is no file {path}; give the path of the file that holds {name}")
    module = _run(path)
    function = getattr(module, name, None)
    if not callable(function):
        own = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        near = get_close_matches(name, own, n=1)
        meant = f"did you mean {near[0]!r}? " if near else ""
        raise SettingsError(f"{path} has no function {name!r}; {meant}it has {', '.join(own) or 'none'}")
    return name, function


def values_of(function: CustomFeature, hours: AlignedHours, name: str) -> NDArray[np.float64]:
    """Compute a feature and see that it is one: a float64 per bar.

    Raises:
        SettingsError: the function raises, or gives something else.

    """
    try:
        values: Any = function(hours)
    except CarryflowError:
        raise
    except Exception as error:
        raise SettingsError(
            f"{name} raised {type(error).__name__} on {len(hours)} bars of {hours.ticker}: {error}; it is "
            "given AlignedHours, whose columns it reads as hours['basis_bp']"
        ) from error
    if not isinstance(values, np.ndarray):
        raise SettingsError(
            f"{name} gave {type(values).__name__}; a feature gives a numpy array of one float64 per bar"
        )
    if values.shape != (len(hours),):
        raise SettingsError(
            f"{name} gave an array of shape {values.shape} for {len(hours)} bars; give one number per bar, "
            "NaN while its window fills"
        )
    if values.dtype != np.float64:
        raise SettingsError(f"{name} gave {values.dtype}; return float64, as values.astype(float) is")
    return values


def _run(path: Path) -> ModuleType:
    name = f"carryflow_custom_{path.stem}"
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SettingsError(f"{path} is no Python file; give one that ends in .py")
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles look their module up by name
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise SettingsError(f"{path} cannot be run{line}: {type(error).__name__}: {error}") from error
    return module
