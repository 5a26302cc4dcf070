"""`python -m benchmarks.proofs [NAME ...]`: carry out proofs one after the other and write their results."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final

from benchmarks.proofs.evidence import RESULTS, Evidence, ProofError, Say

# name -> module of this package, in the order in which they are run and shown.
PROOFS: Final = {
    "reload": "reload",
    "upgrade": "upgrade",
    "crash": "crash",
    "feed": "feed",
    "big_body": "big_body",
    "websockets": "websocket",
    "clients": "clients",
    "churn": "churn",
    "dead_endpoints": "dead_endpoints",
    "resets": "resets",
    "retry_budget": "retry_budget",
    "rolling_failure": "rolling_failure",
    "connections": "connections",
    "streams": "streams",
    "postgres": "postgres",
    "redis": "redis",
    "health": "health",
    "limits": "limits",
    "breaker": "breaker",
    "balancing": "balancing",
    "plan": "plan",
    "slow_loris": "slow_loris",
    "idle": "idle",
    "pauses": "pauses",
}


@dataclass(frozen=True, slots=True)
class Proof:
    """`prove(evidence, folder)` does everything; what it leaves in `folder` goes with it."""

    name: str
    promise: str
    prove: Callable[[Evidence, Path], None]


def load(name: str) -> Proof:
    module = import_module(f"benchmarks.proofs.{PROOFS[name]}")
    return Proof(name, module.PROMISE, module.prove)


def carry_out(proof: Proof, folder: Path, short: bool, say: Say = print) -> Evidence:
    """Raises ProofError when it could not be carried out."""
    say(f"{proof.name}: {proof.promise}{' (short)' if short else ''}")
    evidence = Evidence(proof.name, proof.promise, short, say)
    proof.prove(evidence, folder)
    return evidence


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.proofs", description="What hivemesh promises, shown")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all of {', '.join(PROOFS)}")
    parser.add_argument("--short", action="store_true", help="seconds instead of minutes, as the tests do; not written")
    parser.add_argument("--results", type=Path, help="folder for the JSON files (default: benchmarks/results)")
    parser.add_argument("--keep", action="store_true", help="keep the folder with configuration and logs, and name it")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in PROOFS:
            parser.error(f"unknown proof {name!r}, expected any of: {', '.join(PROOFS)}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends us, our parts end first
    code = 0
    for name in options.names or PROOFS:
        folder = Path(tempfile.mkdtemp(prefix=f"proof-{name}-"))
        try:
            evidence = carry_out(load(name), folder, options.short, lambda line: print(line, flush=True))
        except ProofError as problem:
            notes = "".join(f"\n{note}" for note in getattr(problem, "__notes__", ()))
            print(f"  could not be carried out: {problem}{notes}", file=sys.stderr)
            code = 1
            continue
        except KeyboardInterrupt:
            print("interrupted; everything that was started has been ended", file=sys.stderr)
            return 130
        finally:
            if options.keep:
                print(f"  kept: {folder}", flush=True)
            else:
                shutil.rmtree(folder, ignore_errors=True)
        if not evidence.holds:
            code = 1
        if options.results is not None or not options.short:
            evidence.write(options.results or RESULTS)
    return code


if __name__ == "__main__":
    sys.exit(main())
