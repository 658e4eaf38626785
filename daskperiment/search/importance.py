"""Importance: how much of what a metric depends on comes from each parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from daskperiment.errors import SearchError
from daskperiment.search.levels import BLOCK
from daskperiment.search.space import SearchSpace

LEAST = 5
"""Trials without which there is nothing to learn from."""
_TREES = 64
_SEED = 0


def importance(
    space: SearchSpace, configurations: Sequence[Mapping[str, Any]], values: Sequence[float]
) -> dict[str, float]:
    """The share of each parameter, the largest first.

    A random forest learns the values from the coordinates of the configurations in the unit cube,
    and the decrease in impurity that a coordinate has brought is summed over those of a parameter:
    the *mean decrease in impurity* (Louppe et al., Understanding variable importances in forests
    of randomized trees, 2013), as Optuna's ``MeanDecreaseImpurityImportanceEvaluator`` has it.
    The forest is seeded: it is the same each time.

    Parameters
    ----------
    space : SearchSpace
        Where they lie.
    configurations : sequence of mapping
        What was tried.
    values : sequence of float
        What each has given; finite.

    Returns
    -------
    dict of str to float
        Of all parameters of the space, from 0 to 1, and 1 together.  Whether two parameters count
        only together, it does not tell.

    Raises
    ------
    SearchError
        There are too few, all have given the same, or scikit-learn is not installed.

    Examples
    --------
    >>> from daskperiment.search import Int
    >>> space = SearchSpace({"a": Int(0, 3), "b": Int(0, 3)})
    >>> tried = list(space.grid())
    >>> shares = importance(space, tried, [each["a"] ** 2 for each in tried])
    >>> {name: round(share, 1) for name, share in shares.items()}
    {'a': 1.0, 'b': 0.0}
    """
    if len(values) < LEAST:
        raise SearchError(
            f"The importance of parameters needs {LEAST} COMPLETE trials with a number, and there "
            f"are {len(values)}: run more with resume=True"
        )
    shares = dict.fromkeys(space.names, 0.0)
    decreases = _decreases(list(map(space.encode, configurations)), values)
    start = 0
    for axis in space.axes:
        width = axis.distribution.width
        if axis.name != BLOCK:
            shares[axis.name] += sum(decreases[start : start + width])
        start += width
    total = sum(shares.values())
    if not total:
        raise SearchError(
            f"No parameter has made a difference in {len(values)} trials, so that there are no "
            "shares of it"
        )
    found = {name: share / total for name, share in shares.items()}
    return dict(sorted(found.items(), key=lambda each: -each[1]))


def _decreases(coordinates: Sequence[Sequence[float]], values: Sequence[float]) -> list[float]:
    try:
        from sklearn.ensemble import RandomForestRegressor
    except ImportError:
        raise SearchError(
            "The importance of parameters needs the library scikit-learn: "
            'pip install "daskperiment[search]"'
        ) from None
    if not coordinates[0]:
        return []
    largest = max(map(abs, values)) or 1.0  # squares of larger ones would be infinite
    forest = RandomForestRegressor(n_estimators=_TREES, random_state=_SEED)
    forest.fit(coordinates, [value / largest for value in values])
    return [float(each) for each in forest.feature_importances_]
