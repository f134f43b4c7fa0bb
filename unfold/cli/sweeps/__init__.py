"""Sweeps and searches: jobs in processes or on clusters, and what they ended with."""
