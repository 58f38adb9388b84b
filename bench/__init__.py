"""Measure TESK against peers, in ratios taken in one run. Every claim of speed is a line of one table."""
