"""Targets: what can be run that is no graph, and becomes one of a single step.

A plain function, a design function as of Labs, and a class with ``main``, or with ``initialize``
and ``step``, as of smallab.  Each becomes a :class:`Target`, a result step whose parameters
are those that it takes.
"""

from __future__ import annotations

from daskperiment.targets.target import Target, Targets, merged

__all__ = ["Target", "Targets", "merged"]
