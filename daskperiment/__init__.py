"""Reproducible experiments: decorated functions become recorded trials.

>>> import daskperiment
>>> ex = daskperiment.Experiment("doc_package", backend="memory://")
>>> @ex.result
... def score(a):
...     return 10 / a
>>> score(ex.parameter("a", default=4)).compute()
2.5
>>> ex.latest.state
<TrialState.COMPLETE: 'COMPLETE'>
"""

from __future__ import annotations

from daskperiment.errors import (
    ArtifactNotFoundError,
    BackendError,
    BackendUnreachableError,
    BackendURIError,
    ComputeArgumentError,
    ConflictError,
    DaskperimentError,
    DaskperimentWarning,
    DocumentError,
    InvalidNameError,
    LockedTrialError,
    MetricNotFoundError,
    MissingMainGuardError,
    ParameterError,
    ParameterUndeclaredError,
    ParameterUndefinedError,
    PayloadError,
    PayloadNotFoundError,
    PurityWarning,
    QueryError,
    SeedError,
    StepDefinitionError,
    StepNotFoundError,
    TrialIDNotFoundError,
    ValueNotKeptError,
)
from daskperiment.experiment import Experiment
from daskperiment.records import TrialState
from daskperiment.trial import Trial


def __getattr__(name: str) -> str:
    if name == "__version__":  # reading metadata takes longer than the rest of this import
        from importlib.metadata import version

        return version("daskperiment")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    # what users make and hold
    "Experiment",
    "Trial",
    "TrialState",
    # errors
    "ArtifactNotFoundError",
    "BackendError",
    "BackendURIError",
    "BackendUnreachableError",
    "ComputeArgumentError",
    "ConflictError",
    "DaskperimentError",
    "DocumentError",
    "InvalidNameError",
    "LockedTrialError",
    "MetricNotFoundError",
    "MissingMainGuardError",
    "ParameterError",
    "ParameterUndeclaredError",
    "ParameterUndefinedError",
    "PayloadError",
    "PayloadNotFoundError",
    "QueryError",
    "SeedError",
    "StepDefinitionError",
    "StepNotFoundError",
    "TrialIDNotFoundError",
    "ValueNotKeptError",
    # warnings
    "DaskperimentWarning",
    "PurityWarning",
]
