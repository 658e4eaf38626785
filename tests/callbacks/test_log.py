"""One line in the log for each trial of a batch."""

from __future__ import annotations

import logging

import pytest

from daskperiment import Experiment, Secret
from daskperiment.callbacks import LogTrials
from tests.callbacks.batches import Batch, inverse


def test_a_batch_is_told_line_by_line(caplog: pytest.LogCaptureFixture) -> None:
    ex = Experiment("logged", backend="memory://")
    caplog.set_level(logging.INFO, "daskperiment.callbacks.log")

    Batch(ex, inverse(ex), [{"a": 4}, {"a": 0}], LogTrials()).run()

    begin, first, second, end = [r for r in caplog.records if r.name.endswith("callbacks.log")]
    assert begin.getMessage() == "A batch of 2 trials of 'logged' begins"
    assert first.getMessage().startswith("[1/2] Trial 1 of 'logged', with a=4: COMPLETE in 0.")
    assert first.getMessage().endswith(" s: 0.25")
    assert second.getMessage().startswith("[2/2] Trial 2 of 'logged', with a=0: FAILED in 0.")
    assert second.getMessage().endswith(" s: ZeroDivisionError(division by zero)")
    assert end.getMessage().endswith("1 complete, 1 failed")
    assert [r.levelname for r in (begin, first, second, end)] == ["INFO", "INFO", "ERROR", "INFO"]


def test_a_logger_and_a_level_of_ones_own_are_used(caplog: pytest.LogCaptureFixture) -> None:
    own = logging.getLogger("own")
    caplog.set_level(logging.DEBUG, "own")
    ex = Experiment("logged", backend="memory://", callbacks=[LogTrials(own, logging.DEBUG)])

    inverse(ex).compute(parameters={"a": 4})

    (line,) = [r for r in caplog.records if r.name == "own"]
    assert (line.levelname, line.getMessage()[:8]) == ("DEBUG", "Trial 1 ")


def test_secrets_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    ex = Experiment("logged", backend="memory://", callbacks=[LogTrials()])
    password = ex.parameter("password", default=Secret("hunter2"))

    @ex.result
    def login(password: Secret) -> None:
        raise ValueError(f"{password.reveal()} is wrong")

    with pytest.raises(ValueError, match="is wrong"):
        login(password).compute()

    assert "with password=***: FAILED in" in caplog.text
    assert "ValueError(*** is wrong)" in caplog.text
    lines = [r.getMessage() for r in caplog.records if r.name.endswith("callbacks.log")]
    assert "hunter2" not in "".join(lines)
