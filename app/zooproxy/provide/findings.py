"""What a verification finds wrong, and what was done about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

ROT: Final = "rot"  # the bytes are not what they were
LENGTH: Final = "length"  # nor are there as many
MISSING: Final = "missing"  # the index holds a blob that is not there
UNINDEXED: Final = "unindexed"  # a blob whose sidecar the index does not know of
SURPLUS: Final = "surplus"  # what neither the index nor a sidecar knows
STRAY: Final = "stray"  # a file that is not zooproxy's
SIDECAR: Final = "sidecar"  # missing, unreadable, or at odds with the index
TENSORS: Final = "tensor index"  # unreadable, or at odds with its blob
DATABASE: Final = "database"

LEFT: Final = "left as it is"


@dataclass(frozen=True, slots=True)
class Finding:
    """``kind`` is one of the above; ``name`` a digest or a file; ``outcome`` what was done about it."""

    kind: str
    name: str
    detail: str
    outcome: str = LEFT

    @property
    def is_repaired(self) -> bool:
        return self.outcome != LEFT


@dataclass(frozen=True, slots=True)
class Verified:
    """``blobs`` are held, of ``size`` bytes together; ``read`` bytes were hashed; it took ``seconds``."""

    findings: tuple[Finding, ...]
    blobs: int
    size: int
    read: int
    seconds: float


def found(kind: str, name: str, detail: str, outcome: str | Literal[False, 0]) -> Finding:
    """``outcome``: what was done about it, if anything was."""
    return Finding(kind, name, detail, outcome or LEFT)
