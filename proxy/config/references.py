"""What can only be checked when all of the file was seen: names that refer to other parts, places taken twice, paths
that no request can have.

Works on what was written, whether or not it was valid: a service with a mistake in it still exists, so one mistake
stays one problem.
"""

from __future__ import annotations

from discovery.model import EscapePolicy
from mesh.paths import PathError, normalise
from proxy.config.nodes import Mapping, Node, Path, Scalar, Sequence, path_text, shown
from proxy.config.reading import Reading, Written


def check(root: Node, escapes: EscapePolicy, merge_slashes: bool, reading: Reading) -> None:
    _check_names("service", reading.service_references, _service_names(root), reading)
    _check_names("listener", reading.listener_references, _listener_names(root), reading)
    _check_taken(reading.bound_addresses, "address", reading)
    _check_taken(reading.domains, "domain", reading)
    _check_paths(escapes, merge_slashes, reading)


def _service_names(root: Node) -> dict[str, None]:
    services = _child(root, "services")
    return dict.fromkeys(services.entries) if isinstance(services, Mapping) else {}


def _listener_names(root: Node) -> dict[str, None]:
    listeners = _child(root, "listeners")
    items = listeners.items if isinstance(listeners, Sequence) else []
    names = (_child(item, "name") for item in items)
    return dict.fromkeys(name.text for name in names if isinstance(name, Scalar))


def _child(node: Node, key: str) -> Node | None:
    if not isinstance(node, Mapping) or key not in node.entries:
        return None
    return node.entries[key][1]


def _check_names(kind: str, references: list[Written], known: dict[str, None], reading: Reading) -> None:
    for name, node, path in references:
        if name not in known:
            hint = reading.suggestion(name, known)
            few = ", ".join(known) if 0 < len(known) <= 5 else "the name of one under " + kind + "s"
            reading.problem(node, path, f"there is no {kind} '{shown(name)}'{hint or ', expected ' + few}")


def _check_taken(written: list[Written], what: str, reading: Reading) -> None:
    first: dict[str, tuple[Node, Path]] = {}
    for text, node, path in written:
        other, where = first.setdefault(text, (node, path))
        if other is not node:
            owner = path_text(where).removesuffix(f".{what}")
            reading.problem(node, path, f"'{shown(text)}' is already the {what} of {owner} in line {other.line}")


def _check_paths(escapes: EscapePolicy, merge_slashes: bool, reading: Reading) -> None:
    """Requests are compared after their path was normalised, so a path that is not normal matches none."""
    for text, node, path in reading.matched_paths:
        try:
            normal = normalise(text.encode(), escapes, merge_slashes).decode()
        except PathError as error:
            reading.problem(node, path, f"no request has the path '{shown(text)}': {error}, expected another path")
            continue
        if normal != text:
            message = (
                f"'{shown(text)}' matches no request, because paths are normalised first, expected '{shown(normal)}'"
            )
            reading.problem(node, path, message)
