"""Signals over time: sounds, tables, archives and recordings, whole or in windows."""
