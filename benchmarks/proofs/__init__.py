"""Proofs: what hivemesh promises under load, shown by running it: `python -m benchmarks.proofs [NAME ...]`.

Each proof starts a hivemesh of its own with its origins and clients on loopback, puts it under the load that the
promise is about, and records claims: a sentence, whether it held, and what was found. A proof whose claims all hold is
a result; docs/reliability.md shows the last ones. Unlike benchmarks/compare nothing here is about speed.
"""
