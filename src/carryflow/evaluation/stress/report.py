"""The stress test on paper: a JSON for machines, one HTML page for people."""

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from carryflow.core.atomic import write_atomically
from carryflow.evaluation import formats
from carryflow.evaluation.figures import label
from carryflow.evaluation.stress.run import Outcome, to_json

JSON_FILE, REPORT_FILE = "stress.json", "stress.html"


def write_json(path: Path, outcomes: Sequence[Outcome], ground: str) -> Path:
    """Write scenarios, parameters and verdicts, all or nothing; `ground` says what was struck."""
    told = {"ground": ground, "outcomes": to_json(outcomes)}
    with write_atomically(path) as temporary:
        temporary.write_text(json.dumps(told, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return path


def write_report(path: Path, outcomes: Sequence[Outcome], ground: str) -> Path:
    """Write the page, all or nothing; it carries its style, its data and the plotting library.

    Args:
        path: the file.
        outcomes: what happened.
        ground: what was struck, in words.

    """
    from plotly.offline import get_plotlyjs

    from carryflow.evaluation.stress.figures import colour, draw_outcome

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {**formats.FILTERS, "label": label}
    template = files("carryflow.evaluation.stress").joinpath("page.html.j2").read_text(encoding="utf-8")
    page = environment.from_string(template).render(
        outcomes=[
            (f"{outcome.ticker}-{outcome.scenario.name}", outcome, list(outcome.scenario.parameters))
            for outcome in outcomes
        ],
        policies=list(outcomes[0].traces),
        lived=_lived(outcomes),
        several=len({outcome.ticker for outcome in outcomes}) > 1,
        ground=ground,
        colour=colour,
        # a script element is ended by nothing but a "<"
        figures=Markup(  # noqa: S704
            json.dumps(
                {
                    f"{outcome.ticker}-{outcome.scenario.name}": json.loads(draw_outcome(outcome).to_json())
                    for outcome in outcomes
                }
            ).replace("<", "\\u003c")
        ),
        plotly=Markup(get_plotlyjs()),  # noqa: S704 - the library, made to be inlined
    )
    with write_atomically(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _lived(outcomes: Sequence[Outcome]) -> str:
    """Say how long the policies traded, in words: from the shortest to the longest."""
    hours = {verdict.hours_lived for outcome in outcomes for verdict in outcome.verdicts}
    return " to ".join(f"{value:g}" for value in sorted({min(hours), max(hours)})) + " hours"
