"""Design functions as Labs has them: ``design(experiment, artifacts_path, metrics)``."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from daskperiment.errors import InvalidNameError, ScoresError
from daskperiment.execution.current import CURRENT, CurrentTrial
from daskperiment.history import metrics
from daskperiment.serializers import preview
from daskperiment.targets.kinds import Kind

_ARGUMENTS = ["experiment", "artifacts_path", "metrics"]
_FILE = "scores.json"


def is_design(target: Any) -> bool:
    """Whether it is a function of exactly these arguments."""
    try:
        return list(inspect.signature(target).parameters) == _ARGUMENTS
    except (TypeError, ValueError):
        return False


def design(target: Any) -> Kind:
    """A design function: parameters are its hyper-parameters, but for ``metrics``."""
    return Kind(partial(_run, target), {}, takes_all=True)


def _run(target: Any, /, **given: Any) -> dict[str, int | float]:
    """Run a design and return its scores, which are metrics as well.

    Raises
    ------
    ScoresError
        It has left no scores, not all that are asked for, or what is no number.
    """
    asked = _names(given.pop("metrics", ()))
    running = CURRENT.get()
    assert running is not None
    folder = running.artifact_folder()
    experiment = {"ix": running.trial.number, "hyperparams": given}
    returned = target(experiment, str(folder), list(asked))
    scores = _checked(_written(folder / _FILE, returned))
    if missing := [name for name in asked if name not in scores]:
        raise ScoresError(
            f"The design has no score {', '.join(map(repr, missing))}, which metrics asks for; it "
            f"has {', '.join(map(repr, scores)) or 'none'}"
        )
    CurrentTrial(running).log_metrics(scores)
    return scores


def _names(asked: Any) -> tuple[str, ...]:
    if isinstance(asked, str):
        return (asked,)
    if isinstance(asked, Iterable):
        return tuple(asked)
    raise ScoresError(f"metrics is a list of names of scores, not {preview(asked, 80)}")


def _written(file: Path, returned: Any) -> Mapping[Any, Any]:
    if not file.exists():
        if isinstance(returned, Mapping):
            return returned
        raise ScoresError(
            f"The design has written no {_FILE} into artifacts_path and returned no mapping of "
            'scores: write {"scores": {"loss": 0.1}} as JSON, or return {"loss": 0.1}'
        )
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ScoresError(f"{_FILE} of the design is no JSON: {error}") from None
    scores = content.get("scores") if isinstance(content, dict) else None
    if not isinstance(scores, dict):
        raise ScoresError(
            f'{_FILE} of the design must hold a mapping of scores, {{"scores": {{"loss": 0.1}}}}, '
            f"not {preview(content, 80)}"
        )
    return scores


def _checked(scores: Mapping[Any, Any]) -> dict[str, int | float]:
    checked: dict[str, int | float] = {}
    for name, score in scores.items():
        try:
            checked[metrics.check_name(name)] = metrics.check_value(score)
        except (InvalidNameError, TypeError, ValueError) as error:
            raise ScoresError(f"Score {preview(name, 80)} of the design: {error}") from None
    return checked
