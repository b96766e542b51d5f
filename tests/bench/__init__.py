"""Benchmarks: figures, printed. Nothing here is asserted; machines are noisy, so compare ratios within one run."""
