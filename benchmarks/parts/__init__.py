"""The parts of the benchmarks, one thing measured in each."""
