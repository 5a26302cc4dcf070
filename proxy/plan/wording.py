"""Routes in one line: what they take and where they lead. Routes are as msgspec encodes them, without defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Json = dict[str, Any]


def route_text(entry: Json) -> str:
    """What a route takes, in one line."""
    route = entry["route"]
    if entry["protocol"] == "http":
        return match_text(route.get("match", {}))
    names = ", ".join(route.get("sni", ())) or f"any {'session' if entry['protocol'] == 'udp' else 'connection'}"
    return " ".join([f"{entry['protocol']} {names}", *(f"from {network}" for network in route.get("clients", ()))])


def match_text(match: Json) -> str:
    """The conditions of a route in one line. `match` leaves out what is the default."""
    kind = match.get("path_kind", "prefix")
    path = match.get("path", "/")
    parts = list(match.get("methods", ()))
    host = match.get("host", "")
    parts.append(f"{host}{path}" + {"prefix": "*" if path.endswith("/") else "[/*]", "regex": " (regex)"}.get(kind, ""))
    parts += [f"{condition['name']}{_condition(condition)}" for condition in match.get("headers", ())]
    parts += [f"?{condition['name']}{_condition(condition)}" for condition in match.get("query", ())]
    parts += [f"from {network}" for network in match.get("clients", ())]
    return " ".join(parts)


def _condition(condition: Json) -> str:
    render: dict[str, Callable[[str], str]] = {
        "exact": lambda value: f"={value}",
        "regex": lambda value: f"~{value}",
        "present": lambda value: "",
    }
    return render[condition.get("kind", "exact")](condition.get("value", ""))


def target_text(route: Json) -> str:
    """Where a route leads, in one line."""
    filters = route.get("filters", {})
    if "redirect" in filters:
        return f"redirect {filters['redirect'].get('status', 302)}"
    if "direct_response" in filters:
        return f"answer {filters['direct_response'].get('status', 200)}"
    if "split" in route:
        total = sum(share.get("weight", 1) for share in route["split"]) or 1
        return ", ".join(f"{_place(share)} {100 * share.get('weight', 1) / total:.3g}%" for share in route["split"])
    return _place(route)


def _place(target: Json) -> str:
    service, version = target.get("service", ""), target.get("version", "")
    return f"{service}@{version}" if version else service
