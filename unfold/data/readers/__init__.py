"""Readers of measured files, one module for each kind of measurement."""
