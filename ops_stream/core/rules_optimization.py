"""What may be tried in order to do better, on how much of the work, how surely: `conf/optimization.yaml`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, get_args

Kind = Literal[
    "cheaper_model", "faster_model", "router", "hold_safety", "agent", "retry_plan", "workflow", "cap"
]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
TRIED: Final[frozenset[Kind]] = frozenset(
    ("cheaper_model", "faster_model", "router", "hold_safety", "agent", "retry_plan")
)
"""Kinds that the supervisor can change by itself; of the others it only says what it has found."""
TRIAL: Final = 70
TIME_BOX: Final = 85
PERMANENT: Final = 95
"""Confidence from which on a change is tried on a share, is made for a while, may become permanent; in hundredths."""
OBSERVED_MAX: Final = TIME_BOX - 1
"""What merely happened was not drawn by lot: however clear it looks, it earns no more than a trial."""


@dataclass(frozen=True, slots=True)
class Optimization:
    """All of it. Without the file nothing is looked for."""

    mode: Literal["off", "propose", "act"] = "off"
    """`propose` says what is found and changes nothing by itself."""
    kinds: frozenset[Kind] = field(default_factory=lambda: frozenset(KINDS))
    tell: Literal["alert", "daily", "none"] = "daily"
    look_every_s: int = 3_600
    """How often the figures of a tenant are looked through."""
    samples_min: int = 30
    """Reports on each side below which nothing is concluded."""
    catalogue_weight: int = 100
    """How many imagined reports the catalogue's figures count for where a trial is considered; never within a trial."""
    saving_min_percent: int = 5
    """What a change must save at least to be worth its trouble, of the present cost or time."""
    quality_margin_percent: int = 3
    """How much worse the quality may be and still count as equal, in hundredths of the scale from 0 to 1."""
    share_percent: int = 10
    """The share of the asks that a trial changes."""
    horizon_samples: int = 200
    """Reports with the change at which a trial ends and is judged, once."""
    horizon_s: int = 604_800
    """When it ends at the latest."""
    time_box_s: int = 604_800
    """How long a change lasts that nobody has approved."""
    holdback_percent: int = 10
    """The share of asks that stay as they were while a change is in force, to see whether it still pays."""
    harm_percent: int = 99
    """Confidence that a change makes things worse at which it is taken back."""
    cooldown_s: int = 1_209_600
    """How long what was rejected or taken back is not proposed again."""
    trials_max: int = 3
    """Changes of a tenant that are tried or in force for a while at the same time."""
    critical_priority: int = 9
    """Asks of this priority and above are critical, beside those that affect customers or cannot be taken back."""
    retry_worth_percent: int = 10
    """An attempt that goes well less often than this is not worth making."""
