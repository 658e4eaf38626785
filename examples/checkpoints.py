"""A process is killed in the middle of a training, and the next attempt goes on from there.

Two attempts at one trial, each in a process of its own.  The first one is killed behind epoch 12
of 30.  You will see that the second one neither loads the data again nor trains the first twelve
epochs again, and that it ends with exactly the numbers of a training that nothing has interrupted.
"""

from __future__ import annotations

import os
import signal

import numpy as np

from daskperiment import Experiment

ex = Experiment("killed", seed=1)
epochs = ex.parameter("epochs", default=30)
killed_at = ex.parameter("killed_at", default=0)


@ex.persist
def load() -> tuple[np.ndarray, np.ndarray]:
    print("loading", flush=True)  # before the process is killed
    x = ex.rng().normal(size=(500, 3))
    return x, x @ [3.0, -1.0, 0.5] + ex.rng().normal(size=500)


@ex.result
def train(data: tuple[np.ndarray, np.ndarray], epochs: int, killed_at: int) -> float:
    x, y = data
    done, weights = ex.resume_state((0, np.zeros(3)))
    print(f"training from epoch {done}", flush=True)
    for epoch in range(done, epochs):
        for row in ex.rng().permutation(len(x)):
            weights = weights - 0.001 * (x[row] @ weights - y[row]) * x[row]
        ex.log_metric("loss", float(np.mean((x @ weights - y) ** 2)), epoch)
        ex.checkpoint((epoch + 1, weights))
        if done == 0 and epoch + 1 == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)  # as when the memory is exhausted
    return float(np.mean((x @ weights - y) ** 2))


def main() -> None:
    loss = train(load(), epochs, killed_at)
    (trial,) = ex.map(loss, [{"killed_at": 12}], executor="processes", retries=1)

    first = trial.retry_of
    assert first is not None
    print(f"{first!r}: {first.description}")
    print(f"{trial!r}: {' and '.join(line.text for line in trial.output.lines)}")
    print(trial.steps[["step", "outcome", "reused_from", "resumed_from"]].to_string(index=False))
    print(f"{len(trial.metrics['loss'])} values of the loss")

    whole = loss.compute()
    print(f"as without the interruption: {whole == trial.result}")


if __name__ == "__main__":
    main()
