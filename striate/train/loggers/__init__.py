"""Telling a run to experiment trackers: MLflow and Weights & Biases, each an extra of its own.

Neither library is imported unless a run asks for it, and no run ends because a server is away. `settings` says what a
run asks for, `reporting` tells it.
"""
