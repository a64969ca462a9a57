"""The registry: versions that do not change, aliases that move whole, and processes that die anywhere."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from carryflow.core.errors import RegistryError
from carryflow.promotion.registry import INCOMING, Alias, Registry

Sources = Callable[[str], tuple[Path, Path]]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry")


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    """Make a bundle folder and an evidence folder that their content makes distinct."""

    def make(content: str) -> tuple[Path, Path]:
        bundle, evidence = tmp_path / content / "bundle", tmp_path / content / "evidence"
        (evidence / "plots").mkdir(parents=True)
        bundle.mkdir()
        (bundle / "weights.safetensors").write_bytes(content.encode() * 1_000)
        (bundle / "bundle.json").write_text(content)
        (evidence / "evidence.json").write_text(content)
        (evidence / "plots" / "equity.html").write_text(content)
        return bundle, evidence

    return make


def start_child(work: Callable[[], object]) -> int:
    """Do the work in a forked process and give its id."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return child


def exit_status(child: int) -> int:
    """Wait for a child; 0 means that it lived to the end of its work."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_version_holds_copies_of_both_folders(registry: Registry, sources: Sources) -> None:
    version = registry.register(*sources("one"))
    assert (registry.bundle_dir(version) / "bundle.json").read_text() == "one"
    assert (registry.evidence_dir(version) / "plots" / "equity.html").read_text() == "one"
    assert registry.versions() == (version,)


def test_the_same_content_is_the_same_version_and_other_content_another(
    registry: Registry, sources: Sources, tmp_path: Path
) -> None:
    one = sources("one")
    first = registry.register(*one)
    stamp = (registry.version_dir(first) / "bundle").stat().st_mtime_ns
    assert registry.register(*one) == first
    assert (registry.version_dir(first) / "bundle").stat().st_mtime_ns == stamp, "copied a second time"
    assert registry.register(*sources("two")) != first
    (one[1] / "evidence.json").rename(one[1] / "renamed.json")
    assert registry.register(*one) != first
    assert len(registry.versions()) == 3


def test_a_version_outlives_what_it_was_copied_from(registry: Registry, sources: Sources) -> None:
    bundle, evidence = sources("one")
    version = registry.register(bundle, evidence)
    (bundle / "bundle.json").write_text("changed later")
    assert (registry.bundle_dir(version) / "bundle.json").read_text() == "one"
    registry.verify(version)


def test_nothing_in_a_version_can_be_written(registry: Registry, sources: Sources) -> None:
    folder = registry.version_dir(registry.register(*sources("one")))
    for path in (folder, *folder.rglob("*")):
        assert path.stat().st_mode & 0o222 == 0, path


def test_a_version_that_was_tampered_with_is_found_out(registry: Registry, sources: Sources) -> None:
    version = registry.register(*sources("one"))
    weights = registry.bundle_dir(version) / "weights.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(b"poison")
    with pytest.raises(RegistryError, match="changed in place"):
        registry.verify(version)


def test_an_alias_moves_and_every_move_is_remembered(registry: Registry, sources: Sources) -> None:
    one, two = registry.register(*sources("one")), registry.register(*sources("two"))
    assert registry.resolve(Alias.CHAMPION) is None
    registry.assign(Alias.CHAMPION, one, at_ms=1, why="first")
    registry.assign(Alias.CHALLENGER, two, at_ms=2, why="candidate")
    registry.assign(Alias.CHAMPION, one, at_ms=3, why="changes nothing")
    registry.assign(Alias.CHAMPION, two, at_ms=4, why="better")
    assert registry.resolve(Alias.CHAMPION) == two
    moves = [(move.at_ms, move.alias, move.version, move.previous, move.why) for move in registry.history()]
    assert moves == [
        (1, "champion", one, None, "first"),
        (2, "challenger", two, None, "candidate"),
        (4, "champion", two, one, "better"),
    ]


def test_an_alias_never_names_what_is_not_there(registry: Registry, sources: Sources) -> None:
    version = registry.register(*sources("one"))
    for unknown in ("0" * 16, "", "..", INCOMING):
        with pytest.raises(RegistryError, match=f"it has: {version}"):
            registry.assign(Alias.CHAMPION, unknown, at_ms=1, why="a typo")
    assert registry.resolve(Alias.CHAMPION) is None


@pytest.mark.parametrize("role", ["bundle", "evidence"])
def test_a_folder_that_is_missing_or_empty_is_refused(
    registry: Registry, sources: Sources, tmp_path: Path, role: str
) -> None:
    bundle, evidence = sources("one")
    (tmp_path / "empty").mkdir()
    for absent in (tmp_path / "nowhere", tmp_path / "empty"):
        pair = (absent, evidence) if role == "bundle" else (bundle, absent)
        with pytest.raises(RegistryError, match=f"no {role} in"):
            registry.register(*pair)
    assert registry.versions() == ()


@pytest.mark.parametrize("content", ["{", "[]"])
def test_broken_aliases_are_an_error_and_never_no_champion(
    registry: Registry, sources: Sources, content: str
) -> None:
    registry.assign(Alias.CHAMPION, registry.register(*sources("one")), at_ms=1, why="first")
    (registry.root / "aliases.json").write_text(content)
    with pytest.raises(RegistryError, match=r"aliases\.json"):
        registry.resolve(Alias.CHAMPION)


def test_a_version_that_was_never_judged_says_so(registry: Registry, sources: Sources) -> None:
    version = registry.register(*sources("one"))
    with pytest.raises(RegistryError, match="never judged"):
        registry.verdict(version)


def test_wherever_a_process_is_killed_the_registry_is_whole_and_the_next_one_finishes(
    tmp_path: Path, sources: Sources
) -> None:
    """Kill a child at its 1st, 2nd, 3rd … file operation, until one lives to the end."""
    one, two = sources("one"), sources("two")
    killed = 0
    while True:
        registry = Registry(tmp_path / f"registry-{killed}")
        first = registry.register(*one)
        registry.assign(Alias.CHAMPION, first, at_ms=1, why="first")

        def work(registry: Registry = registry, deadline: int = killed) -> None:
            left = deadline

            def die_in_time(event: str, args: tuple[object, ...]) -> None:
                nonlocal left
                if event in {"open", "os.rename", "os.mkdir", "os.chmod", "os.remove", "shutil.copyfile"}:
                    if left == 0:
                        os._exit(9)
                    left -= 1

            sys.addaudithook(die_in_time)
            registry.assign(Alias.CHAMPION, registry.register(*two), at_ms=2, why="better")

        status = exit_status(start_child(work))
        for version in registry.versions():
            registry.verify(version)
        champion = registry.resolve(Alias.CHAMPION)
        assert champion in registry.versions()
        assert [move.version for move in registry.history()][-1] == champion
        second = registry.register(*two)
        registry.assign(Alias.CHAMPION, second, at_ms=3, why="better")
        assert registry.resolve(Alias.CHAMPION) == second
        assert [move.version for move in registry.history()] == [first, second]
        assert registry.versions() == tuple(sorted((first, second)))
        assert list((registry.root / "versions").glob(f"{INCOMING}*")) == []
        if status == 0:
            break
        assert status == 9
        killed += 1
    assert killed > 20, "the child was hardly ever killed: the test has lost its point"


def test_processes_that_write_at_once_lose_nothing(registry: Registry, sources: Sources) -> None:
    """Let two processes move one alias each, to and fro, while two more register what is there already."""
    pairs = [sources("one"), sources("two")]
    one, two = (registry.register(*pair) for pair in pairs)
    moves = 60

    def toggle(alias: Alias) -> None:
        for number in range(moves):
            registry.assign(alias, (one, two)[number % 2], at_ms=number, why="to and fro")

    def register() -> None:
        for _ in range(moves):
            for pair in pairs:
                registry.register(*pair)

    works = [lambda: toggle(Alias.CHAMPION), lambda: toggle(Alias.CHALLENGER), register, register]
    children = [start_child(work) for work in works]
    assert [exit_status(child) for child in children] == [0] * 4
    for alias in Alias:
        stamps = [move.at_ms for move in registry.history() if move.alias == alias]
        assert stamps == list(range(moves)), f"moves of the {alias} were lost"
    assert registry.versions() == tuple(sorted((one, two)))
