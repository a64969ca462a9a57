"""The cache of machine code must see a change in what a kernel calls, not only in the kernel."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import carryflow

IMPORT = "from carryflow.core.compiled import compiled\n"
CALLER = IMPORT + "from room.called import rate\n\n@compiled\ndef twice():\n    return 2 * rate()\n"
CALLED = IMPORT + "\n@compiled\ndef rate():\n    return {}\n"
ASK = (
    "from room.caller import twice\n"
    "print(twice(), sum(twice.stats.cache_hits.values()), sum(twice.stats.cache_misses.values()))\n"
)


def ask(folder: Path, question: str = ASK) -> list[int]:
    source = Path(carryflow.__file__).parents[1]
    answer = subprocess.run(
        [sys.executable, "-c", question],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{folder}:{source}", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(word) for word in answer.stdout.split()]


def test_a_changed_callee_in_another_file_is_compiled_anew(tmp_path: Path) -> None:
    room = tmp_path / "room"
    room.mkdir()
    (room / "__init__.py").write_text("")
    (room / "caller.py").write_text(CALLER)
    (room / "called.py").write_text(CALLED.format(3))
    assert ask(tmp_path) == [6, 0, 1]
    assert ask(tmp_path) == [6, 1, 0], "the second process should load what the first compiled"
    (room / "called.py").write_text(CALLED.format(5))
    assert ask(tmp_path) == [10, 0, 1]
    shutil.rmtree(room)


def test_so_is_one_whose_callee_stands_in_another_folder_of_the_room(tmp_path: Path) -> None:
    for folder in ("house", "house/room", "house/room/corner"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").write_text("")
    (tmp_path / "house/room/corner/caller.py").write_text(CALLER.replace("room.called", "house.room.called"))
    called = tmp_path / "house/room/called.py"
    asked = ASK.replace("room.caller", "house.room.corner.caller")
    called.write_text(CALLED.format(3))
    assert ask(tmp_path, asked) == [6, 0, 1]
    called.write_text(CALLED.format(5))
    assert ask(tmp_path, asked) == [10, 0, 1]
