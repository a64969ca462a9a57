"""The kill switch stops the engine by command, by file and by signal, with everything else down."""

import asyncio
import os
import signal
import threading
from pathlib import Path

import pytest

from carryflow.execution.limits.kill import SIGNALS, Kill, KillSwitch, Level


class StoppedClock:
    def now_ms(self) -> int:
        return 77

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "kill.json"


def test_the_levels_rise_from_pause_to_flatten() -> None:
    assert Level.RUN < Level.PAUSE < Level.REDUCE < Level.FLATTEN


def test_without_a_file_the_engine_runs_and_what_one_process_sets_the_other_sees(path: Path) -> None:
    engine, command = KillSwitch(path), KillSwitch(path)
    assert engine.level() is Level.RUN
    asked = command.set(Level.PAUSE, "holidays", "person", 1)
    assert engine.current() == asked == Kill(Level.PAUSE, "holidays", "person", 1)
    command.set(Level.FLATTEN, "fire", "person", 2)
    assert engine.level() is Level.FLATTEN
    command.clear()
    assert engine.level() is Level.RUN
    command.clear()


def test_of_two_who_ask_the_one_who_asks_for_more_is_heard(path: Path) -> None:
    switch = KillSwitch(path)
    flatten = switch.set(Level.FLATTEN, "fire", "person", 1)
    assert switch.set(Level.PAUSE, "holidays", "person", 2) == flatten
    assert KillSwitch(path).current() == flatten


def test_who_asks_for_less_at_the_same_moment_does_not_write_over_who_asks_for_more(path: Path) -> None:
    """A look at the switch that is held up must not be overtaken before it is acted on."""

    class SlowSwitch(KillSwitch):
        def current(self) -> Kill:
            known = super().current()
            rushing.start()
            rushing.join(0.2)
            return known

    rushing = threading.Thread(target=KillSwitch(path).set, args=(Level.FLATTEN, "fire", "person", 2))
    SlowSwitch(path).set(Level.PAUSE, "holidays", "person", 1)
    rushing.join()
    assert KillSwitch(path).level() is Level.FLATTEN


@pytest.mark.parametrize("text", ["", "{", "[]", '{"level": "SLEEP"}', '{"level": "PAUSE"}', "\x00"])
def test_a_file_that_cannot_be_read_lets_positions_only_get_smaller_and_says_so(
    path: Path, text: str
) -> None:
    path.parent.mkdir()
    path.write_text(text)
    switch = KillSwitch(path)
    assert switch.level() is Level.REDUCE
    assert str(path) in switch.current().reason
    assert switch.set(Level.REDUCE, "meant", "person", 3) == switch.current()
    assert switch.set(Level.FLATTEN, "fire", "person", 4) == switch.current()


def test_a_file_written_by_hand_is_heard(path: Path) -> None:
    path.parent.mkdir()
    path.write_text('{"level": "FLATTEN", "reason": "by hand", "by": "me", "at_ms": 5}')
    assert KillSwitch(path).current() == Kill(Level.FLATTEN, "by hand", "me", 5)


@pytest.mark.parametrize("number", SIGNALS)
def test_each_signal_asks_for_its_level(path: Path, number: signal.Signals) -> None:
    async def ring() -> None:
        switch = KillSwitch(path)
        uninstall = switch.install(asyncio.get_running_loop(), StoppedClock())
        os.kill(os.getpid(), number)
        while switch.level() is Level.RUN:
            await asyncio.sleep(0.001)
        uninstall()
        assert KillSwitch(path).current() == Kill(SIGNALS[number], f"signal {number.name}", "signal", 77)

    before = signal.getsignal(number)
    asyncio.run(asyncio.wait_for(ring(), 10))
    signal.signal(number, before)


def test_a_signal_is_heard_although_the_disk_refuses(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("where a folder should be")

    async def ring() -> None:
        switch = KillSwitch(tmp_path / "file" / "kill.json")
        uninstall = switch.install(asyncio.get_running_loop(), StoppedClock())
        os.kill(os.getpid(), signal.SIGQUIT)
        while switch.level() is not Level.FLATTEN:
            await asyncio.sleep(0.001)
        uninstall()

    asyncio.run(asyncio.wait_for(ring(), 10))
