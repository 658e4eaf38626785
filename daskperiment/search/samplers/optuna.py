"""Samplers of Optuna, by name and options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, Self

from daskperiment.errors import SamplerError
from daskperiment.search.samplers.base import Sampler, one_metric
from daskperiment.search.values import nearest
from daskperiment.serializers import preview
from daskperiment.typing import Document

if TYPE_CHECKING:
    import numpy as np
    import optuna

    from daskperiment.search.samplers.asked import AskedStudy
    from daskperiment.search.space import Configuration, SearchSpace
    from daskperiment.search.trials import SearchTrial

_SEEDS = 2**32


class _OptunaSampler(Sampler):
    """Options of a sampler of Optuna, and the study of a search that has begun."""

    learns: ClassVar[bool] = True
    _needs: ClassVar[Sequence[str]] = ("optuna",)
    _flags: ClassVar[Sequence[str]]
    _least: ClassVar[Mapping[str, int]]
    """The smallest integer of each option that is one."""

    def __init__(self, **options: Any) -> None:
        for name, value in options.items():
            self._check(name, value)
        for library in self._needs:
            if find_spec(library) is None:
                raise SamplerError(
                    f"Sampler {self.name!r} needs {library}: pip install "
                    '"daskperiment[search]", or take sampler="random"'
                )
        self._given = options
        self._study: AskedStudy | None = None

    def _check(self, name: str, value: Any) -> None:
        known = [*self._least, *self._flags]
        if name not in known:
            raise SamplerError(
                f"Sampler {self.name!r} takes no option {name!r}: {nearest(name, known)}; "
                f"it takes {', '.join(known)}"
            )
        if name in self._flags and not isinstance(value, bool):
            raise SamplerError(f"{name} is True or False, not {preview(value, 80)}")
        least = self._least.get(name, 0)
        if name in self._least and (type(value) is not int or value < least):
            raise SamplerError(f"{name} is an integer from {least} on, not {preview(value, 80)}")

    def _options(self) -> Document:
        return dict(self._given)

    def begun(self, space: SearchSpace, seed: int, metrics: int) -> Self:
        """One with a study of its own, of which all follows from the seed.

        Raises
        ------
        SamplerError
            Optuna cannot combine the options.
        """
        from daskperiment.search.samplers.asked import AskedStudy

        mine = copy(self)
        mine._study = AskedStudy(space, self._made(seed), metrics, self._warm(seed))
        return mine

    def sample(
        self, space: SearchSpace, trials: Sequence[SearchTrial], rng: np.random.Generator
    ) -> Configuration:
        """What the study suggests, which is told of the trials first.

        One that has not begun begins by itself, with one metric and a seed of ``rng``.
        """
        if self._study is None or self._study.space != space:
            self._study = self.begun(space, int(rng.integers(_SEEDS)), 1)._study
        assert self._study is not None
        return self._study.ask(trials)

    def _made(self, seed: int, **more: Any) -> optuna.samplers.BaseSampler:
        import optuna

        from daskperiment.search.optuna import muted

        kind = getattr(optuna.samplers, type(self).__name__)
        try:
            with muted():
                return kind(seed=seed % _SEEDS, **more, **self._given)  # type: ignore[no-any-return]
        except (TypeError, ValueError) as error:  # or an option that this release does not know
            raise SamplerError(f"Sampler {self.name!r}: {error}") from None

    def _warm(self, seed: int) -> Callable[[Any], optuna.samplers.BaseSampler] | None:
        """What makes one that begins from trials, where it can."""
        return None


class TPESampler(_OptunaSampler):
    """Optuna's tree-structured Parzen estimator.

    Where good trials are dense and bad ones are not, it looks further [1]_.  With equal seeds it
    suggests what ``optuna.samplers.TPESampler`` does.  Several metrics are searched at once.

    Parameters
    ----------
    **options : int or bool
        ``n_startup_trials``, ``n_ei_candidates``, ``multivariate``, ``group`` and
        ``constant_liar`` of ``optuna.samplers.TPESampler``, with its defaults.

    Raises
    ------
    SamplerError
        There is no such option, or Optuna is not installed.

    References
    ----------
    .. [1] Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NIPS 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from daskperiment.search import Float, SearchSpace
    >>> space = SearchSpace({"rate": Float(0, 1)})
    >>> TPESampler().begun(space, 1, 1).sample(space, [], np.random.default_rng(0))
    {'rate': 0.417022004702574}
    """

    name: ClassVar[str] = "tpe"
    _flags: ClassVar[Sequence[str]] = ("multivariate", "group", "constant_liar")
    _least: ClassVar[Mapping[str, int]] = {"n_startup_trials": 0, "n_ei_candidates": 1}

    def _made(self, seed: int, **more: Any) -> optuna.samplers.BaseSampler:
        if self._given.get("group") and "multivariate" not in self._given:
            more["multivariate"] = True  # as it is then, but not without a warning
        return super()._made(seed, **more)


class CmaEsSampler(_OptunaSampler):
    """Optuna's CMA-ES: a cloud of points that moves and stretches towards small losses [1]_.

    With equal seeds it suggests what ``optuna.samplers.CmaEsSampler`` does.  Choices, and what is
    active in some configurations only, it samples by chance.  Where ten trials or more are COMPLETE
    before its first suggestion, the cloud begins where they were good.

    Parameters
    ----------
    **options : int or bool
        ``n_startup_trials``, ``popsize``, ``consider_pruned_trials``, ``use_separable_cma``,
        ``with_margin`` and ``lr_adapt`` of ``optuna.samplers.CmaEsSampler``, with its defaults.

    Raises
    ------
    SamplerError
        There is no such option, or Optuna or ``cmaes`` is not installed.

    References
    ----------
    .. [1] Hansen, "The CMA Evolution Strategy: A Tutorial", 2016.

    Examples
    --------
    >>> CmaEsSampler(popsize=8).document()
    {'name': 'cma-es', 'popsize': 8}
    """

    name: ClassVar[str] = "cma-es"
    _needs: ClassVar[Sequence[str]] = ("optuna", "cmaes")
    _flags: ClassVar[Sequence[str]] = (
        "consider_pruned_trials",
        "use_separable_cma",
        "with_margin",
        "lr_adapt",
    )
    _least: ClassVar[Mapping[str, int]] = {"n_startup_trials": 0, "popsize": 2}

    def begun(self, space: SearchSpace, seed: int, metrics: int) -> Self:
        """One with a study of its own, of which all follows from the seed.

        Raises
        ------
        SamplerError
            There are several metrics, Optuna cannot combine the options, or ``with_margin`` meets
            parameters that depend on others.
        """
        one_metric(self.name, metrics)
        if self._given.get("with_margin") and any("/" in axis.address for axis in space.axes):
            raise SamplerError(
                "with_margin needs parameters that are always active, and the space has branches "
                "or blocks: leave it out, or take sampler='tpe'"
            )
        return super().begun(space, seed, metrics)

    def _made(self, seed: int, **more: Any) -> optuna.samplers.BaseSampler:
        return super()._made(seed, warn_independent_sampling=False, **more)

    def _warm(self, seed: int) -> Callable[[Any], optuna.samplers.BaseSampler] | None:
        if self._given.get("use_separable_cma"):  # which always begins in the middle
            return None
        return lambda trials: self._made(seed, source_trials=trials)
