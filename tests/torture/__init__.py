"""Faults on purpose: kills, errors of the system, crowds, hostile input; see `harness`."""
