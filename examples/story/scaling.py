"""Helpers that both scripts of the story use."""

import numpy as np


def spread(table):
    """How far each column reaches."""
    return np.std(table, axis=0)


def scaled(table):
    """The columns on one scale."""
    return (table - np.mean(table, axis=0)) / spread(table)
