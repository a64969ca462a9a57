"""Work that falls into parts, done part by part on a Ray cluster through Ray Data."""

import logging
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from carryflow.core.errors import CarryflowError

Item = TypeVar("Item")
Result = TypeVar("Result")


def ray_map(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Apply a function to each item as `map` does, on as many processes as the cluster has cores.

    The cluster is the one that this process has joined, else that of RAY_ADDRESS, else a local one for as
    long as this takes. Function, items and results travel pickled: a module's function or a partial of one,
    and what names the data rather than the data. Folders in them must be there on every machine.

    Returns:
        The results, in the order of the items.

    Raises:
        CarryflowError: what the function raised for the first item that failed, as it would here.

    """
    parts = list(items)
    if not parts:
        return []
    with _cluster():
        import ray.data

        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        rows = [{"place": place, "item": pickle.dumps(item)} for place, item in enumerate(parts)]
        dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(_Part(function))
        done = sorted(dataset.take_all(), key=lambda row: int(row["place"]))
    outcomes = [pickle.loads(row["outcome"]) for row in done]  # noqa: S301 - written by our own workers
    for outcome in outcomes:
        if isinstance(outcome, _Failure):
            raise outcome.error
    return outcomes


class _Failure:
    """Carry an error home, which Ray would wrap in its own."""

    def __init__(self, error: CarryflowError) -> None:
        self.error = error


class _Part:
    """Do one item's work on a worker."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function
        self.__name__ = getattr(function, "__name__", type(self).__name__)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            outcome = self.function(pickle.loads(row["item"]))  # noqa: S301 - written by the driver
        except CarryflowError as error:
            outcome = _Failure(error)
        return {"place": row["place"], "outcome": pickle.dumps(outcome)}


@contextmanager
def _cluster() -> Iterator[None]:
    import ray

    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS", "local")
    of_its_own = {"include_dashboard": False} if address == "local" else {}
    ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **of_its_own)
    try:
        yield
    finally:
        ray.shutdown()
