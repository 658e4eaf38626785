"""Replies about what is unusual and sound: no numbers, no text, nothing there any more."""

from __future__ import annotations

from flask.testing import FlaskClient

from daskperiment.dashboard.endpoint import ROOT
from tests.dashboard.fuzz import strict
from tests.dashboard.stores import NAME

TRIAL = f"{ROOT}/experiments/{NAME}/trials/1"


def test_a_metric_of_nan_and_infinities_is_a_curve_with_gaps(client: FlaskClient) -> None:
    rows = strict(client.get(f"{ROOT}/experiments/{NAME}/trials").data)["rows"]

    metrics = rows[-1]["metrics"]
    assert (metrics["odd"]["last"], metrics["far"]["last"]) == ("nan", "inf")
    assert metrics["odd"]["spark"] == metrics["far"]["spark"] == [None]
