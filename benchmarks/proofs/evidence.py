"""What a proof found: claims that held or did not, and the numbers beside them.

A proof records every claim, also after one that failed: the second failure often explains the first. `Evidence.write`
makes the result file. Nothing here judges; a claim's condition is evaluated by the proof.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.compare import machine

FORMAT: Final = 1
RESULTS: Final = Path(__file__).resolve().parents[1] / "results"

Say = Callable[[str], None]


class ProofError(Exception):
    """A proof could not be carried out (something did not start, a part of it failed): no evidence either way."""


class MissingTool(ProofError):
    """A program that the proof needs is not installed."""


@dataclass(frozen=True, slots=True)
class Claim:
    """`found` is what was seen, in words: it must make sense without the code of the proof."""

    claim: str
    holds: bool
    found: str


@dataclass(slots=True)
class Evidence:
    """`short`: the run was cut to seconds, as the tests do; such a result says that the proof works, not more."""

    proof: str
    promise: str
    short: bool
    say: Say = print
    claims: list[Claim] = field(default_factory=list)
    numbers: dict[str, object] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    began: float = field(default_factory=time.time)

    def claim(self, claim: str, holds: bool, found: object) -> bool:
        self.claims.append(Claim(claim, bool(holds), str(found)))
        self.say(f"  {'holds' if holds else 'FAILS'}  {claim}: {found}")
        return bool(holds)

    def note(self, name: str, value: object) -> None:
        self.numbers[name] = value

    @property
    def holds(self) -> bool:
        return bool(self.claims) and all(claim.holds for claim in self.claims)

    def failures(self) -> list[str]:
        """One sentence for each claim that does not hold."""
        return [f"{claim.claim}: {claim.found}" for claim in self.claims if not claim.holds]

    def as_json(self) -> dict[str, object]:
        return {
            "format": FORMAT,
            "proof": self.proof,
            "promise": self.promise,
            "holds": self.holds,
            "short": self.short,
            "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.began)),
            "seconds": round(time.time() - self.began, 1),
            **machine.commit(),
            "machine": machine.describe(),
            "versions": self.versions,
            "claims": [{"claim": claim.claim, "holds": claim.holds, "found": claim.found} for claim in self.claims],
            "numbers": self.numbers,
        }

    def write(self, folder: Path = RESULTS) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"proof-{self.proof}.json"
        path.write_text(json.dumps(self.as_json(), indent=1) + "\n")
        return path
