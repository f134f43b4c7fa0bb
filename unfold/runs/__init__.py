"""Runs: a directory named by what is computed, its status, its lock and its provenance."""
