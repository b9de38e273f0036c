"""Tar shards of many samples each: writing and reading them."""
