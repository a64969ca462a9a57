"""A file is whole or not there."""

from pathlib import Path

import pytest

from carryflow.core.atomic import write_atomically


def write_text(path: Path, text: str) -> None:
    with write_atomically(path) as temporary:
        temporary.write_text(text)


def test_the_text_arrives_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_text(tmp_path / "new" / "note.txt", "whole")
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["note.txt"]
    assert (tmp_path / "new" / "note.txt").read_text() == "whole"


def test_until_the_block_ends_the_old_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    write_text(path, "old")
    with write_atomically(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent
        assert temporary.suffix == ".txt"
    assert path.read_text() == "new"


def fail_half_way(path: Path) -> None:
    with write_atomically(path) as temporary:
        temporary.write_text("hal")
        raise OSError("disk full")


def test_a_block_that_fails_leaves_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    write_text(path, "old")
    with pytest.raises(OSError, match="disk full"):
        fail_half_way(path)
    assert [file.name for file in tmp_path.iterdir()] == ["note.txt"]
    assert path.read_text() == "old"


def test_others_may_read_the_file(tmp_path: Path) -> None:
    write_text(tmp_path / "note.txt", "whole")
    assert (tmp_path / "note.txt").stat().st_mode & 0o777 == 0o644
