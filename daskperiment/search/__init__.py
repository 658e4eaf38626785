"""Search spaces: distributions of parameters, and the configurations that they give.

>>> from daskperiment.search import Float, SearchSpace
>>> space = SearchSpace({"rate": Float(0.1, 0.3, step=0.1), "loss": ["l1", "l2"]})
>>> space.size
6
"""

from __future__ import annotations

from daskperiment.search.branch import Branch
from daskperiment.search.choices import Categorical, Constant, Draws
from daskperiment.search.configurations import configuration_id, configuration_names
from daskperiment.search.distribution import Distribution
from daskperiment.search.handle import Search
from daskperiment.search.laws import Exponential, LogNormal, Normal, Poisson
from daskperiment.search.ranges import Float, Int, Linspace, Logspace
from daskperiment.search.reading import from_document
from daskperiment.search.space import Axis, SearchSpace
from daskperiment.search.tables import (
    read_configuration,
    read_csv,
    write_configurations,
    write_csv,
)

__all__ = [
    # spaces
    "SearchSpace",
    "Axis",
    # distributions
    "Distribution",
    "Float",
    "Int",
    "Linspace",
    "Logspace",
    "Normal",
    "LogNormal",
    "Exponential",
    "Poisson",
    "Categorical",
    "Constant",
    "Branch",
    "Draws",
    "from_document",
    # searches
    "Search",
    # configurations
    "configuration_id",
    "configuration_names",
    "write_csv",
    "read_csv",
    "write_configurations",
    "read_configuration",
]
