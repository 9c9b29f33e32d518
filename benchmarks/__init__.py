"""Measures what sessions cost, beside other ways to keep them: ``python -m benchmarks --help``."""
