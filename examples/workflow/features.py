"""What is made of the columns of the table."""

import functools

import numpy as np
import units

SCALES = ["log"]


def traced(function):
    """A decorator that changes nothing."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        return function(*args, **kwargs)

    return call


def scaled(table, power=1):
    """The columns on a logarithmic scale."""
    found = units.not_negative(table) ** power
    return np.log(found) if "log" in SCALES else found


class Ranker:
    """Tells which columns matter."""

    def __init__(self, most):
        self.most = most

    def chosen(self, table, target):
        """Names of the columns that go with the target most."""
        strength = table.corrwith(target).abs()
        return list(strength.sort_values(ascending=False).index[: self.most])


def weighing(weight):
    """A function that multiplies."""

    def weigh(table):
        return table * weight

    return weigh


WEIGH = weighing(1.0)
