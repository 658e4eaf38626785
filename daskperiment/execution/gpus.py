"""GPUs: which of them each worker process sees."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from daskperiment.errors import ResourceError
from daskperiment.serializers import preview

VARIABLE = "CUDA_VISIBLE_DEVICES"
_FREE = 20
"""Per cent of load below which a GPU is taken to be free, as in EXP."""
_INSTALL = 'pip install "daskperiment[gpu]"'


def check_gpus(gpus: Any) -> list[str] | None:
    """Return what each worker sees, as the value of ``CUDA_VISIBLE_DEVICES``.

    Parameters
    ----------
    gpus : sequence
        One entry for each worker: a number, an id such as ``"GPU-8932f937"``, or several in a
        tuple.

    Raises
    ------
    ResourceError
        It is something else.

    Examples
    --------
    >>> check_gpus([0, 0, (1, 2)])
    ['0', '0', '1,2']
    """
    if gpus is None:
        return None
    try:
        seen = [",".join(map(_name, _several(entry))) for entry in _listed(gpus)]
    except (TypeError, ValueError):
        seen = []
    if not seen or not all(seen):
        raise ResourceError(
            "gpus is a list with an entry for each worker, such as [0, 0, 1] for two workers on "
            f"GPU 0 and one on GPU 1, not {preview(gpus)}"
        )
    return seen


def _listed(gpus: Any) -> Iterable[Any]:
    if isinstance(gpus, (str, bytes, dict)):
        raise TypeError
    return list(gpus)


def _several(entry: Any) -> Sequence[Any]:
    return entry if isinstance(entry, (tuple, list)) else (entry,)


def _name(entry: Any) -> str:
    if isinstance(entry, bool) or not isinstance(entry, (int, str)) or str(entry).startswith("-"):
        raise ValueError
    return str(entry)


def shared_out(each: int) -> list[str]:
    """Give every worker so many of the GPUs that are free now.

    Raises
    ------
    ResourceError
        There are not so many, or nothing tells; the message says what to do.
    """
    free = list(_free())
    if each > len(free):
        raise ResourceError(
            f"A trial needs {each} GPU(s), and {len(free)} of this machine are free (below "
            f"{_FREE} % load): name those to use by gpus=[...], or wait until others are done"
        )
    return [",".join(free[i : i + each]) for i in range(0, len(free) - each + 1, each)]


def _free() -> Iterator[str]:
    try:
        import pynvml
    except ImportError:
        raise ResourceError(
            f"To see which GPUs are free, nvidia-ml-py is needed: {_INSTALL}; or name those to "
            "use by gpus=[0, 1]"
        ) from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise ResourceError(f"A trial needs a GPU, and this machine shows none: {error}") from error
    try:
        for number in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(number)
            if pynvml.nvmlDeviceGetUtilizationRates(handle).gpu < _FREE:
                yield str(number)
    finally:
        pynvml.nvmlShutdown()
