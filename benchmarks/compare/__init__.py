"""hivemesh beside other proxies: the same traffic, the same core, in turns, in one run.

`python -m benchmarks.compare` runs the works and writes benchmarks/results/<work>.json;
`python -m benchmarks.compare.report` turns those files into the table of benchmarks/README.md.
Standard library only, so that it runs beside any of the proxies without changing what it measures.
"""
