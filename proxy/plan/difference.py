"""The difference of two things as the file would write them: which keys, from what to what.

It works on what proxy/config/effective.py shows, so every key of the configuration is covered, in the file's own
words, and a key that is added there is told of here.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from proxy.plan.values import Json, ValueChange

# Lists that are mappings in other clothes: shares by where they lead, filters by their name.
SHARES = ("split", "traffic_split")
FILTERS = "filters"


def differences(was: Json, now: Json) -> tuple[ValueChange, ...]:
    """In the order of `now`, then what is there no more."""
    return tuple(_differences("", _unfolded(was), _unfolded(now)))


def _differences(path: str, was: Json, now: Json) -> Iterator[ValueChange]:
    if isinstance(was, dict) and isinstance(now, dict):
        for key in (*now, *(key for key in was if key not in now)):
            yield from _differences(f"{path}.{key}" if path else key, was.get(key), now.get(key))
    elif was != now:
        yield ValueChange(key=path, was=was, now=now)


def _unfolded(shown: Json) -> Json:
    if not isinstance(shown, dict):
        return shown
    found = {}
    for key, value in shown.items():
        if key in SHARES:
            found[key] = {_place(share): share["weight"] for share in value}
        elif key == FILTERS:
            found[key] = {name: value for each in value for name, value in each.items()}
        else:
            found[key] = value
    return found


def _place(share: dict[str, Json]) -> str:
    return " ".join(share[key] for key in ("service", "version") if key in share)
