"""Markets that say nothing any more."""

import asyncio
from collections.abc import Sequence

from carryflow.execution.ports import Clock
from carryflow.venues.stream.channel import Channel
from carryflow.venues.stream.health import StreamKind
from carryflow.venues.stream.tap import Tap


async def watch_silence(channels: Sequence[Channel], tap: Tap, clock: Clock, limit_seconds: float) -> None:
    """Ask anew for a market that has been silent for too long; the second time, over a new connection.

    Both clocks must have run on for so long: where the venue's stands, nothing is to be heard of.
    """
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(limit_seconds / 4)
        now_at, now_ms = loop.time(), clock.now_ms()
        for channel in channels:
            silent = min(now_at - channel.heard_at, (now_ms - channel.heard_ms) / 1000)
            if silent <= limit_seconds or channel.kind is StreamKind.QUOTE:
                continue
            channel.begin(now_ms)
            channel.silences += 1
            words = f"nothing was heard of {channel.name} for {silent:.1f} s"
            if channel.silences == 1:
                tap.ask_anew(channel, words)
            else:
                tap.hang_up(channel, words)
