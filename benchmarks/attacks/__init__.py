"""HTTP attacks: one table of hostile requests and responses, against hivemesh, HAProxy, nginx and Envoy.

case.py      what a case is: bytes, the verdicts that the RFC allows, what the origin may see at most
cases/       the cases, a file for each idea
readings.py  how a strict server, and the lenient ones that exist, would read a stream of bytes
lane.py      carries a case out: client, proxy, an origin that records raw bytes, and a victim afterwards
judge.py     from what was recorded to a verdict and the desyncs
contenders.py, report.py, __main__.py   the comparison
"""
