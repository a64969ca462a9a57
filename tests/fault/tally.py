"""How much went wrong in the tests of this folder, and how much of it got through."""

from collections import Counter
from dataclasses import dataclass, field

from tests.fault.audit import Audit, Breach


@dataclass(slots=True)
class Tally:
    """Count over all tests; `lines` says it in words."""

    trials: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    breaches: Counter[Breach] = field(default_factory=Counter)
    orders: int = 0
    fills: int = 0
    repeated: int = 0
    kills: int = 0
    halted: int = 0
    worst_delta_lots: float = 0.0
    worst_gap: float = 0.0

    def add(self, kind: str, audit: Audit) -> None:
        """Count one trial."""
        self.trials[kind] += 1
        self.breaches.update(finding.breach for finding in audit.findings)
        self.orders += audit.orders
        self.fills += audit.fills
        self.repeated += audit.duplicates
        self.halted += len(audit.halted)
        self.worst_delta_lots = max(self.worst_delta_lots, audit.worst_delta_lots)
        self.worst_gap = max(self.worst_gap, audit.ledger_gap)

    def merge(self, other: "Tally") -> None:
        """Count what another process has counted."""
        self.trials += other.trials
        self.faults += other.faults
        self.breaches += other.breaches
        self.orders += other.orders
        self.fills += other.fills
        self.repeated += other.repeated
        self.kills += other.kills
        self.halted += other.halted
        self.worst_delta_lots = max(self.worst_delta_lots, other.worst_delta_lots)
        self.worst_gap = max(self.worst_gap, other.worst_gap)

    def lines(self) -> list[str]:
        """Return what there is to tell."""
        trials = ", ".join(f"{count} {kind}" for kind, count in sorted(self.trials.items()))
        faults = ", ".join(f"{count} {fault}" for fault, count in self.faults.most_common())
        breaches = ", ".join(f"{breach} {self.breaches[breach]}" for breach in Breach)
        return [
            f"played            {trials}",
            f"went wrong        {sum(self.faults.values())}: {faults}",
            f"audited           {self.orders} orders of ours, {self.fills} trades",
            f"got through       {breaches}",
            f"worst             {self.worst_delta_lots:.3g} lots between the legs of a pair that is not "
            f"halted, {self.worst_gap:.1e} between ledger and statement",
            f"a person called   for {self.halted} pairs that had not come to an end by themselves",
            f"killed            {self.kills} engines with SIGKILL",
            f"sent twice        {self.repeated} orders that the line between delivered twice, not the engine",
        ]
