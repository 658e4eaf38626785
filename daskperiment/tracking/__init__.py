"""Captures of code, environment and randomness: they return plain data and know no backend."""
