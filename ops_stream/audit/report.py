"""What an audit found, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from ops_stream.audit.people import Acts

FINDINGS_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `place` is a topic and an offset in it, as people write them."""

    place: str
    offset: int
    what: str
    """A word for programs: `changed`, `forged`, `removed`, `inserted`, `decision`, `output`, …"""
    explanation: str

    def as_dict(self) -> dict[str, Any]:
        """Give the finding as a JSON-shaped object."""
        return {
            "place": self.place,
            "offset": self.offset,
            "what": self.what,
            "explanation": self.explanation,
        }


@dataclass(slots=True)
class PartitionReport:
    """What the audit of one partition counted and found."""

    partition: int
    records: int = 0
    """Records that count."""
    inputs: int = 0
    ticks: int = 0
    takeovers: int = 0
    gaps: int = 0
    rebases: int = 0
    """How often it was restored into another cluster."""
    voids: dict[str, int] = field(default_factory=dict)
    """Records that do not count, by why."""
    decided_again: int = 0
    sealed_only: int = 0
    """Records of which only seal and place were checked: their bodies, or the state before them, are not there."""
    other_engine: dict[str, int] = field(default_factory=dict)
    """Records that another engine decided and that this one would decide otherwise, by that engine."""
    outputs: int = 0
    """Outputs that the records hold."""
    published: int = 0
    """Records on output topics that were compared with them."""
    checkpoints: int = 0
    """Signed heads of the chain that it fits."""
    acts: Acts = field(default_factory=Acts)
    """What people decided and commanded."""
    findings: list[Finding] = field(default_factory=list)
    """The first of them, in the order of the journal; `wrong` counts all."""
    wrong: int = 0

    def add(self, finding: Finding) -> None:
        """Take a finding in."""
        self.wrong += 1
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(finding)

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.wrong

    def as_dict(self) -> dict[str, Any]:
        """Give the report as a JSON-shaped object."""
        return {
            "partition": self.partition,
            "passed": self.passed,
            "records": self.records,
            "inputs": self.inputs,
            "ticks": self.ticks,
            "takeovers": self.takeovers,
            "gaps": self.gaps,
            "rebases": self.rebases,
            "voids": dict(self.voids),
            "decided_again": self.decided_again,
            "sealed_only": self.sealed_only,
            "other_engine": dict(self.other_engine),
            "outputs": self.outputs,
            "published": self.published,
            "checkpoints": self.checkpoints,
            **self.acts.as_dict(),
            "wrong": self.wrong,
            "findings": [finding.as_dict() for finding in self.findings],
        }
