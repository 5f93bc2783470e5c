"""Benchmarks: what has a ``main`` is a command, ``python -m bench.NAME``; the rest is what commands share."""
