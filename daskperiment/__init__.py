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

from importlib import import_module
from typing import TYPE_CHECKING, Any

from daskperiment.errors import (
    AlteredRecordError,
    ArtifactNotFoundError,
    BackendError,
    BackendUnreachableError,
    BackendURIError,
    BatchArgumentError,
    BatchError,
    BundleError,
    CallbackError,
    CallbackWarning,
    CategoryError,
    CheckpointError,
    CodeChangedWarning,
    CollectorError,
    ComputeArgumentError,
    ConflictError,
    DamagedRowError,
    DashboardError,
    DaskperimentError,
    DaskperimentWarning,
    DocumentError,
    EnvironmentChangedWarning,
    ExecutorError,
    ExperimentNotFoundError,
    ExperimentsFileError,
    FieldNotFoundError,
    ImportFormatError,
    InvalidNameError,
    KeyFileError,
    LockedTrialError,
    MetricNotFoundError,
    MissingMainGuardError,
    MutationWarning,
    OptionError,
    ParameterError,
    ParameterFileError,
    ParameterUndeclaredError,
    ParameterUndefinedError,
    PayloadError,
    PayloadNotFoundError,
    PrunerError,
    PurityWarning,
    QueryError,
    RebuildError,
    RegistrationError,
    ResourceError,
    SamplerError,
    ScoresError,
    SearchError,
    SearchSpaceError,
    SecretError,
    SeedError,
    StepDefinitionError,
    StepNotFoundError,
    StoreCorruptError,
    StoreFullError,
    StoreIOError,
    StoreReadOnlyError,
    StoreTooNewError,
    TargetError,
    TrialIDNotFoundError,
    TrialPruned,
    TrialReferenceError,
    TrialRunningError,
    TrialTimeoutError,
    UndeclaredInputWarning,
    UntrustedPayloadError,
    ValueNotKeptError,
)
from daskperiment.namespace import Namespace
from daskperiment.records import TrialState
from daskperiment.secrets import Secret

if TYPE_CHECKING:
    from daskperiment.execution.block import Block
    from daskperiment.execution.current import CurrentTrial, current
    from daskperiment.experiment import Experiment
    from daskperiment.history.copying import copy_trials
    from daskperiment.history.experiments import experiments
    from daskperiment.manager.running import run_experiments
    from daskperiment.targets.milestone import Milestone
    from daskperiment.tracking.environment import collector
    from daskperiment.trial import Trial

# Dask takes longer to import than all of ours: `daskperiment --help` does without it.
_HOMES = {
    "Block": "daskperiment.execution.block",
    "CurrentTrial": "daskperiment.execution.current",
    "Experiment": "daskperiment.experiment",
    "Milestone": "daskperiment.targets.milestone",
    "Trial": "daskperiment.trial",
    "collector": "daskperiment.tracking.environment",
    "copy_trials": "daskperiment.history.copying",
    "current": "daskperiment.execution.current",
    "experiments": "daskperiment.history.experiments",
    "run_experiments": "daskperiment.manager.running",
}
"""Module of each public name that is imported when it is first asked for."""


def __getattr__(name: str) -> Any:
    if name == "__version__":  # reading metadata takes longer than the rest of this import
        from importlib.metadata import version

        return version("daskperiment")
    if name in ("fingerprint", "search"):
        return import_module(f"daskperiment.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


__all__ = [
    # what users make and hold
    "Experiment",
    "Namespace",
    "Secret",
    "Trial",
    "TrialState",
    "experiments",
    "run_experiments",
    "copy_trials",
    "collector",
    # inside a step
    "current",
    "CurrentTrial",
    "Block",
    "Milestone",
    "TrialPruned",
    # errors
    "AlteredRecordError",
    "ArtifactNotFoundError",
    "BackendError",
    "BackendURIError",
    "BackendUnreachableError",
    "BatchArgumentError",
    "BatchError",
    "BundleError",
    "CallbackError",
    "CategoryError",
    "CheckpointError",
    "CollectorError",
    "ComputeArgumentError",
    "ConflictError",
    "DashboardError",
    "DaskperimentError",
    "DocumentError",
    "ExecutorError",
    "ExperimentNotFoundError",
    "ExperimentsFileError",
    "FieldNotFoundError",
    "ImportFormatError",
    "InvalidNameError",
    "KeyFileError",
    "LockedTrialError",
    "MetricNotFoundError",
    "MissingMainGuardError",
    "OptionError",
    "ParameterError",
    "ParameterFileError",
    "ParameterUndeclaredError",
    "ParameterUndefinedError",
    "PayloadError",
    "PayloadNotFoundError",
    "PrunerError",
    "QueryError",
    "RebuildError",
    "RegistrationError",
    "ResourceError",
    "ScoresError",
    "SamplerError",
    "SearchError",
    "TargetError",
    "SearchSpaceError",
    "SecretError",
    "SeedError",
    "StepDefinitionError",
    "StepNotFoundError",
    "DamagedRowError",
    "StoreTooNewError",
    "StoreReadOnlyError",
    "StoreIOError",
    "StoreFullError",
    "StoreCorruptError",
    "TrialIDNotFoundError",
    "TrialReferenceError",
    "TrialRunningError",
    "TrialTimeoutError",
    "UntrustedPayloadError",
    "ValueNotKeptError",
    # warnings
    "CallbackWarning",
    "CodeChangedWarning",
    "DaskperimentWarning",
    "EnvironmentChangedWarning",
    "MutationWarning",
    "PurityWarning",
    "UndeclaredInputWarning",
]
