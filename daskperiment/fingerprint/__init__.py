"""Digests of values and of code, equal across processes, machines and Python versions."""
