"""Every pitfall of the field is held shut by a test that carries its id."""

import ast
from pathlib import Path

TESTS = Path(__file__).parents[1]
ALL = {f"P{number:02}" for number in range(1, 21)}


def held() -> set[str]:
    """Find the ids in `@pytest.mark.pitfall("P05")` and `pytestmark = pytest.mark.pitfall("P05")`."""
    found = set()
    for file in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "pitfall":
                found |= {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
    return found


def test_every_pitfall_has_a_test_that_carries_its_id() -> None:
    assert held() == ALL
