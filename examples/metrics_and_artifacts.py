"""Numbers for each epoch, and files that stay with their trial.

Two trials fit a line by gradient descent with different learning rates.  You will see the loss of
both side by side, epoch by epoch; what the better trial kept; and the folder ``best`` into which
its artifacts are copied.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from daskperiment import Experiment

ex = Experiment("line", backend="memory://", seed=1)
rate = ex.parameter("rate", default=0.1)
epochs = ex.parameter("epochs", default=5)


@ex
def points() -> tuple[np.ndarray, np.ndarray]:
    x = ex.rng().normal(size=50)
    return x, 3 * x + 1


@ex.result
def fit(points: tuple[np.ndarray, np.ndarray], rate: float, epochs: int) -> float:
    x, y = points
    slope = offset = 0.0
    for epoch in range(epochs):
        error = slope * x + offset - y
        slope -= rate * 2 * float(np.mean(error * x))
        offset -= rate * 2 * float(np.mean(error))
        ex.log_metric("train/loss", float(np.mean(error**2)), epoch=epoch)

    # An object, and a file that the step writes itself.
    ex.save_artifact("line", {"slope": slope, "offset": offset})
    ex.artifact_path("plots/line.json").write_text(json.dumps([slope, offset]))
    return float(np.mean((slope * x + offset - y) ** 2))


def main() -> None:
    loss = fit(points(), rate, epochs)
    for value in (0.05, 0.3):
        loss.compute(parameters={"rate": value})
    print(ex.load_metric("train/loss", [1, 2]).round(3).to_string())

    best = ex.best("minimize")
    print(f"\n{best!r}: {list(best.artifacts)}")
    print("line:", best.artifacts["line"].load())
    for path in best.artifacts.save(Path("best")):
        print("saved", path.as_posix())


if __name__ == "__main__":
    main()
