"""Sweeps through a real SLURM and a real Ray cluster of this machine; `make clusters`."""
