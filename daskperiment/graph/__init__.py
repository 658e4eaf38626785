"""Decorated functions as a Dask graph, and that graph bound to one trial.

A :class:`Node` is a real :class:`dask.delayed.Delayed`, so it mixes with plain
functions, operators and Dask collections.  Its graph has holes: one for the trial
and one for the values of the parameters.  A :class:`Layout` is such a graph flattened
and put in order once; from it come the graphs that really run, each with the holes
filled in the way its route of computing needs.
"""

from __future__ import annotations

from daskperiment.graph.layout import Layout
from daskperiment.graph.node import Node, Result, layout_of
from daskperiment.graph.step import Step, StepOptions, check_reuse, is_audit
from daskperiment.graph.tasks import (
    OUTSIDE,
    PLACES,
    Fixed,
    Lookup,
    Owner,
    RunningTrial,
    StepCall,
    Values,
    undefined,
    values_key,
)

__all__ = [
    "OUTSIDE",
    "PLACES",
    "Fixed",
    "Layout",
    "Lookup",
    "Node",
    "Owner",
    "Result",
    "RunningTrial",
    "Step",
    "StepCall",
    "StepOptions",
    "Values",
    "check_reuse",
    "is_audit",
    "layout_of",
    "undefined",
    "values_key",
]
