"""Which scenarios are played, and with which parameters."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml
from pydantic import ValidationError

from carryflow.core.errors import SettingsError
from carryflow.env.stress.library import SCENARIOS
from carryflow.env.stress.scenario import Scenario


def choose(names: Sequence[str] = (), parameters: Sequence[str] = ()) -> tuple[Scenario, ...]:
    """Give the named scenarios, all by default, with some parameters set, such as `squeeze.size=0.4`.

    >>> [scenario.size for scenario in choose(["squeeze"], ["squeeze.size=0.4"])]
    [0.4]

    Raises:
        SettingsError: a scenario or a parameter is unknown (the nearest is named), a parameter belongs to a
            scenario that is not played, or a value is ill-typed or out of range.

    """
    chosen = {name: dict[str, Any]() for name in SCENARIOS if not names or name in names}
    for name in names:
        require_known(name, SCENARIOS, "scenario")
    for text in parameters:
        key, equals, value = text.partition("=")
        name, dot, parameter = key.strip().partition(".")
        if not (equals and dot and parameter):
            raise SettingsError(f"{text!r} is not of the form scenario.parameter=value: squeeze.size=0.4")
        require_known(name, SCENARIOS, "scenario")
        if name not in chosen:
            raise SettingsError(f"{text}: {name} is not played; add --scenario {name}, or leave it out")
        require_known(parameter, SCENARIOS[name].model_fields, f"parameter of {name}")
        chosen[name][parameter] = _value(value)
    return tuple(_build(name, given) for name, given in chosen.items())


def require_known(name: str, known: Iterable[str], what: str) -> None:
    """Do nothing if the name is known.

    Raises:
        SettingsError: it is not; the nearest is named.

    """
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    raise SettingsError(f"unknown {what} {name!r}; the nearest is {near[0]!r}")


def _value(text: str) -> Any:
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return text


def _build(name: str, given: Mapping[str, Any]) -> Scenario:
    try:
        return SCENARIOS[name].model_validate(given)
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(name, detail) for detail in error.errors())) from None


def _explain(name: str, detail: Any) -> str:
    if not detail["loc"]:  # parameters that do not go together: the scenario says which
        return f"{name}: {detail['ctx']['error']}"
    return f"{name}.{detail['loc'][0]} = {detail['input']!r}: {detail['msg'].lower()}"
