"""Soak: mixed traffic for an hour while everything fails in turn: `python -m benchmarks.soak [--minutes N]`.

One hivemesh with two workers, four endpoints (scene.py, origin.py) and a resolver (resolver.py) on loopback. Clients of
every kind that hivemesh serves (web.py, streams.py, names.py, operators.py) ask at bounded rates; a schedule that
follows from the seed (chaos.py) kills, stops, breaks and changes what they ask through. Every answer is checked where
it arrives. What remains is judged by pure rules (rules.py, slope.py): whether each failure has an event to which
docs/reliability.md allows it, and whether processes keep the size that they had.
"""
