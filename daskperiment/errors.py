"""Every error and warning of daskperiment, in one tree.

Each error is a :class:`DaskperimentError` and also the builtin that fits it, so
``except ValueError`` and ``except DaskperimentError`` both work.  A message says
what happened and what to do next.  All of them carry the message as their only
argument, so they survive the trip from a worker process to the driver.
"""

from __future__ import annotations


class DaskperimentError(Exception):
    """Root of every error raised by daskperiment itself."""


class InvalidNameError(DaskperimentError, ValueError):
    """An experiment id, parameter, metric or artifact name cannot be used."""


class ParameterError(DaskperimentError, ValueError):
    """A parameter was declared twice differently, or a value does not fit its declaration."""


class ParameterFileError(ParameterError):
    """A file of parameters cannot be read, or holds no mapping of them."""


class ParameterUndeclaredError(ParameterError):
    """A value was given for a parameter that the experiment does not declare."""


class ParameterUndefinedError(ParameterError):
    """A parameter that the graph uses has neither a value nor a default."""


class StepDefinitionError(DaskperimentError, TypeError):
    """The decorated object cannot be a step."""


class ComputeArgumentError(DaskperimentError, TypeError):
    """``compute`` or ``main`` was called with an argument that it does not take."""


class RegistrationError(DaskperimentError, TypeError):
    """``daskperiment.fingerprint.register`` was given what cannot be registered."""


class SecretError(DaskperimentError, TypeError):
    """A secret would leave this process, or cannot be revealed in it."""


class SeedError(DaskperimentError, ValueError):
    """A seed is not an integer from 0 to 2**32 - 1."""


class ExperimentNotFoundError(DaskperimentError, ValueError, LookupError):
    """A backend has no such experiment, or several where one must be chosen."""


class TrialIDNotFoundError(DaskperimentError, ValueError, LookupError):
    """There is no such trial, or no trial is running here."""


class LockedTrialError(DaskperimentError, ValueError):
    """Kept for imports only: nothing needs to raise it, reads work during a trial."""


class TrialRunningError(DaskperimentError, RuntimeError):
    """The trial is still running, and what was asked for has to wait for its end."""


class FieldNotFoundError(DaskperimentError, ValueError, LookupError):
    """A trial has no such part that could be forgotten; the message lists its parts."""


class StepNotFoundError(DaskperimentError, ValueError, LookupError):
    """The trial has no record of this step or call, or the experiment defines no such step."""


class MetricNotFoundError(DaskperimentError, ValueError, LookupError):
    """No trial has saved a metric of this name."""


class ArtifactNotFoundError(DaskperimentError, LookupError):
    """The trial has no artifact of this name."""


class CollectorError(DaskperimentError, ValueError):
    """A function cannot be a collector: its name is taken, or it needs arguments."""


class CategoryError(DaskperimentError, ValueError, LookupError):
    """The environment has no such category; the message lists those that it has."""


class QueryError(DaskperimentError, ValueError):
    """A condition or order for trials cannot be read; the message points at the place."""


class SearchSpaceError(DaskperimentError, ValueError, LookupError):
    """A distribution or search space cannot be so, has no such name, or a file of one is wrong."""


class SamplerError(DaskperimentError, ValueError):
    """A sampler is set up wrongly, cannot do what it is asked for, or has nothing more to give."""


class SearchError(DaskperimentError, ValueError, LookupError):
    """A search is asked for wrongly, is not there, or is there already."""


class TargetError(DaskperimentError, ValueError, LookupError):
    """A file has nothing that trials could be run of, or several such things."""


class ExperimentsFileError(DaskperimentError, ValueError):
    """A file of experiments says something that cannot be so, or cannot be read."""


class ScoresError(DaskperimentError, ValueError):
    """A design function has left no scores, not all that were asked for, or what is no number."""


class ValueNotKeptError(DaskperimentError, LookupError):
    """The value could not be encoded when it was recorded; the message says why."""


class PayloadError(DaskperimentError, ValueError):
    """Stored bytes are not what their record says: wrong digest or unreadable encoding."""


class UntrustedPayloadError(PayloadError):
    """A pickle of a shared store was not loaded: nobody whose key is at hand has signed it."""


class KeyFileError(DaskperimentError, OSError):
    """The file of a key cannot be used: it is missing, no key, or others can read it."""


class PayloadNotFoundError(PayloadError, LookupError):
    """The backend holds no payload of this digest."""


class DocumentError(DaskperimentError, TypeError, ValueError):
    """A backend was given what it cannot keep: not JSON, beyond 64 bits, or a bad path or key."""


class ConflictError(DaskperimentError, RuntimeError):
    """A group of writes was refused whole: a key exists, or an expectation does not hold."""


class BackendError(DaskperimentError, OSError):
    """The backend could not read or write; the cause is chained."""


class StoreFullError(BackendError):
    """There is no room for what was to be written: of the disk, a quota or a limit of size."""


class StoreIOError(BackendError):
    """The operating system failed to read or write the store's files."""


class StoreReadOnlyError(BackendError):
    """The store can be read, but this user may not write to it."""


class StoreTooNewError(BackendError):
    """A newer release wrote the store; this one neither reads nor changes it."""


class SnapshotNotFoundError(BackendError, LookupError):
    """A capture of code or environment is gone: it was removed, or the store is a partial copy."""


class StoreCorruptError(BackendError):
    """The store is damaged: what it holds is not what was written."""


class DamagedRowError(StoreCorruptError):
    """One row of the store is damaged; others may be sound.

    Attributes
    ----------
    key : int, str or None
        Its key, behind which the others can be read; None where that is not known.
    """

    key: int | str | None = None


class BackendUnreachableError(BackendError):
    """The store cannot be reached from here: its server is away, or its process is gone."""


class BackendLostDataError(BackendUnreachableError):
    """The server has come back without the store that it had."""


class BackendUnsafeError(BackendError):
    """The server is set up to lose what it is given, and ``strict=True`` refuses that."""


class BackendAccessError(BackendError):
    """The server refuses this user: a wrong password, or no right to do it."""


class BackendURIError(DaskperimentError, ValueError):
    """The ``backend`` argument names no backend."""


class ImportFormatError(DaskperimentError, ValueError):
    """What was to be imported is not of the format that it should have, or not plain data."""


class OptionError(DaskperimentError, ValueError):
    """A variable, ``pyproject.toml`` or an argument sets an option to what it cannot be."""


class TrialReferenceError(TrialIDNotFoundError):
    """A text such as ``latest`` or ``3:7`` names no trial."""


class ExecutorError(DaskperimentError, ValueError):
    """There is no such executor, or not with these settings; the message lists what there is."""


class CheckpointError(DaskperimentError, TypeError):
    """The state of a checkpoint cannot be encoded, or holds a secret; earlier ones are kept."""


class BatchArgumentError(DaskperimentError, ValueError):
    """What is asked of a batch cannot be done so; the message says what can."""


class ResourceError(DaskperimentError, RuntimeError):
    """Nothing here can offer what a step needs, such as a GPU; waiting would not help."""


class BatchError(DaskperimentError, RuntimeError):
    """A trial of a batch was lost, as the process that ran it has died."""


class TrialTimeoutError(DaskperimentError, TimeoutError):
    """A trial or one of its steps took longer than it was given."""


class TrialPruned(DaskperimentError, RuntimeError):  # noqa: N818 - as Optuna calls it
    """Raised in a step it ends the trial as PRUNED, which is no failure: it was not promising."""


class PrunerError(DaskperimentError, ValueError):
    """A pruner is set up wrongly, or a document describes none of this version."""


class CallbackError(DaskperimentError, TypeError, ValueError):
    """An object is no callback, is one already or none of these, or is set up wrongly."""


class DashboardError(DaskperimentError, ValueError):
    """The dashboard cannot be served so: the address, the port, the token or a missing library."""


class MissingMainGuardError(DaskperimentError, RuntimeError):
    """A script that starts worker processes lacks ``if __name__ == "__main__":``."""


class RebuildError(DaskperimentError, RuntimeError):
    """A recorded trial cannot be run again; the message says what is missing or is not what ran."""


class AlteredRecordError(RebuildError):
    """What is stored of a trial is not what ran."""


class BundleError(DaskperimentError, ValueError):
    """A file is no bundle, is of a newer format, or was changed."""


class DaskperimentWarning(UserWarning):
    """Root of every warning of daskperiment."""


class CallbackWarning(DaskperimentWarning):
    """A callback has raised an error, or cannot reach the processes in which steps run."""


class CodeChangedWarning(DaskperimentWarning):
    """A step's code differs from that of the latest trial; the text shows the difference."""


class EnvironmentChangedWarning(DaskperimentWarning):
    """The environment differs from that of the latest trial; the text names what differs."""


class MutationWarning(DaskperimentWarning):
    """A step has changed one of its arguments in place; the text says which, and who uses it."""


class PurityWarning(DaskperimentWarning):
    """A step gave another output for the same inputs; the text names the causes."""


class UndeclaredInputWarning(DaskperimentWarning):
    """A step has touched what it was not given; the text says what, and how to give it."""
