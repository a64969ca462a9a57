"""Cash between the two wallets: written down before it is asked for, and never asked for twice."""

import asyncio
from decimal import Decimal

from carryflow.core.errors import AmbiguousError, RejectedError, RetryableError, VenueError
from carryflow.execution.journal.records import Severity, TransferRecord
from carryflow.execution.orders import TransferReport, Wallet
from carryflow.execution.pair.order_desk import CLOCKS_APART_MS
from carryflow.execution.world import World

TRANSFER_VALID_MS = 60_000
"""How long a request may be on its way at most: venues refuse one that is signed earlier."""


class Cashier:
    """Move cash between the wallets, one transfer at a time.

    While it is not known what became of one, no other is sent.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._counter = asyncio.Lock()
        self._told: str | None = None

    async def move(self, ticker: str | None, amount: Decimal, to: Wallet) -> bool:
        """Move cash of one coin's share, or (None) of the whole account; say whether it arrived.

        Args:
            ticker: whose books it changes.
            amount: how much (quote, > 0).
            to: the wallet that receives it.
        """
        async with self._counter:
            await self._settle()
            journal, clock = self._world.journal, self._world.clock
            if journal.transfers(unsettled=True):
                return False
            now_ms = clock.now_ms()
            record = TransferRecord(self._world.name("transfer", ticker), ticker, amount, to, now_ms)
            journal.record_transfer(record)
            try:
                report = await self._world.venue.transfer(amount, to)
            except (RejectedError, RetryableError) as error:
                journal.settle_transfer(record.key, None)
                words = f"{amount} {self._world.venue.quote} did not move to the {to} wallet: {error}"
                if words != self._told:  # what is tried every minute is not told every minute
                    self._world.tell(Severity.WARNING, ticker, words)
                self._told = words
                return False
            except AmbiguousError:
                await clock.sleep(self._world.settings.poll_seconds)
                await self._settle()
                return any(
                    transfer.key == record.key and transfer.transfer_id is not None
                    for transfer in journal.transfers()
                )
            self._happened(record, report)
            self._told = None
            return True

    async def settle(self) -> None:
        """Find out what became of transfers of which it is not known."""
        async with self._counter:
            await self._settle()

    async def notice(self, since_ms: int) -> None:
        """Write down what others have moved between the wallets since an instant (UTC ms).

        Raises:
            VenueError: the venue does not tell.
        """
        async with self._counter:
            await self._settle()
            journal = self._world.journal
            if journal.transfers(unsettled=True):
                return  # what is not known may be one of ours
            told = await self._world.venue.transfers(since_ms)
            known = {transfer.transfer_id for transfer in journal.transfers()}
            for report in told:
                if report.transfer_id not in known and journal.record_foreign_transfer(report):
                    foreign = TransferRecord("", None, report.amount, report.to, report.ts_ms)
                    self._world.book([foreign.settled(report)])
                    words = (
                        f"not ours: {report.amount} {self._world.venue.quote} moved to the {report.to} wallet"
                    )
                    self._world.tell(Severity.WARNING, None, words)

    async def _settle(self) -> None:
        journal, venue = self._world.journal, self._world.venue
        for record in journal.transfers(unsettled=True):
            try:
                expired = await venue.now_ms() > record.journalled_ms + TRANSFER_VALID_MS
                told = await venue.transfers(record.journalled_ms - CLOCKS_APART_MS)
            except VenueError:
                return  # it stays unknown
            known = {transfer.transfer_id for transfer in journal.transfers()}
            ours = [
                report
                for report in told
                if report.transfer_id not in known
                and report.to is record.to
                and report.amount <= record.amount
                and report.ts_ms >= record.journalled_ms - self._world.settings.limits.max_clock_skew_ms
            ]
            if ours:
                self._happened(record, min(ours, key=lambda report: record.amount - report.amount))
            elif expired:
                journal.settle_transfer(record.key, None)

    def _happened(self, record: TransferRecord, report: TransferReport) -> None:
        self._world.journal.settle_transfer(record.key, report)
        self._world.book([record.settled(report)])
