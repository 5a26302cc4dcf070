"""One reading of one file: its problems, and what has to wait until all of it was seen.

Shapes report problems here and go on, so that a reader gets all of them at once. What depends on other parts of the
file (does this service exist, is this address taken) is noted while reading and checked at the end, see
references.py. Problems come out in file order.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from discovery.model import Position
from proxy.config.nodes import Node, Path, path_text
from proxy.config.problems import Problem

# Looking for a similar word costs a comparison with every candidate. After this many, suggestions stop, so that a
# large file that is wrong throughout is still refused in seconds.
SUGGESTION_BUDGET = 100_000

LONGEST_GUESSED = 100  # characters of a word that is compared at all

Written = tuple[str, Node, Path]  # a value, and where it stands


class Reading:
    """Collects what one file says that is not a value: problems, references, addresses."""

    def __init__(self, filename: str) -> None:
        self.filename = filename
        self.service_references: list[Written] = []
        self.listener_references: list[Written] = []
        self.domains: list[Written] = []
        self.bound_addresses: list[Written] = []  # of streams
        self.bound_datagrams: list[Written] = []
        self.proxy_receivers: list[Written] = []  # the PROXY protocol, received
        self.matched_paths: list[Written] = []
        # Services, and how long one attempt at them may take, of routes that leave the timeout to the service.
        self.attempts: list[tuple[str, float, Node, Path]] = []
        self.zone_preferences: list[Written] = []  # where endpoints of the own zone are wanted
        self._found: list[Problem] = []
        self._budget = SUGGESTION_BUDGET

    def position(self, node: Node) -> Position:
        return Position(file=self.filename, line=node.line, column=node.column)

    def problem(self, node: Node, path: Path, message: str) -> None:
        self._found.append(Problem(message=message, position=self.position(node), key=path_text(path)))

    def problem_at(self, line: int, column: int, message: str) -> None:
        """A problem of the file as such. Line 0: of no line in particular."""
        position = Position(file=self.filename, line=line, column=column)
        self._found.append(Problem(message=message, position=position))

    def problems(self) -> tuple[Problem, ...]:
        def place(problem: Problem) -> tuple[int, int]:
            return (problem.position.line, problem.position.column) if problem.position else (0, 0)

        # Once each: an address of both TCP and UDP is taken twice.
        return tuple(sorted(dict.fromkeys(self._found), key=place))

    def similar(self, word: str, candidates: Iterable[str]) -> str:
        """The candidate that `word` was probably meant to be; "" when none is close."""
        words = list(candidates)
        if len(words) > self._budget or len(word) > LONGEST_GUESSED:
            return ""
        self._budget -= len(words)
        folded = {candidate.lower().replace("-", "_"): candidate for candidate in words}
        close = difflib.get_close_matches(word.lower().replace("-", "_"), folded, n=1, cutoff=0.6)
        return folded[close[0]] if close else ""

    def suggestion(self, word: str, candidates: Iterable[str]) -> str:
        """ ", did you mean 'x'?" when there is a similar candidate, else nothing."""
        meant = self.similar(word, candidates)
        return f", did you mean '{meant}'?" if meant else ""
