"""Callbacks: told what runs, by whatever means, and what stops a batch.

A hundred learning rates are to be tried on a small problem.  You will see a line for each trial
that was better than all before, which step took the most time, why the batch stopped after a few
trials, and what a server on this machine was told of it by a webhook, as Slack would be.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from daskperiment import Experiment
from daskperiment.callbacks import Callback, StopWithoutImprovement, Webhook

ex = Experiment("callbacks", backend="memory://", seed=1)


@ex
def points(count: int) -> list[float]:
    return [ex.rng().normal() for _ in range(count)]


@ex.result
def fit(points: list[float], rate: float) -> float:
    """Squared error of a mean that is found by gradient descent."""
    mean = 5.0
    for _ in range(20):
        mean -= rate * sum(mean - x for x in points) / len(points)
    return sum((mean - x) ** 2 for x in points) / len(points)


class Best(Callback):
    """Prints each trial that is better than all before."""

    def before_batch(self, **rest: Any) -> None:
        self.error = float("inf")

    def after_trial(self, *, trial: Any, **rest: Any) -> None:
        if trial.result < self.error:
            self.error = trial.result
            print(f"rate {trial.parameters['rate']:.2f}: error {trial.result:.6f}")


seconds: Counter[str] = Counter()


def count(event: str, **arguments: Any) -> None:
    """Adds up how long the steps took."""
    if event == "after_step":
        seconds[arguments["step"]] += arguments["seconds"]


class Receiver(BaseHTTPRequestHandler):
    """Stands for the server of a chat."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        print("received:", json.loads(body)["text"])
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


def main() -> None:
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/services/T0/B0/x4Z"
    told = Webhook(address, shape="slack", events=["after_batch"])

    stop = StopWithoutImprovement(3, delta=1e-6, direction="minimize")
    ex.add_callback(count)
    trials = ex.map(
        fit(points(200), ex.parameter("rate")),
        [{"rate": i / 20} for i in range(1, 101)],
        max_workers=1,
        callbacks=[Best(), stop, told],
    )

    (slowest, _), *_ = seconds.most_common()
    print(f"{len(trials)} of 100 trials were run; most of the time took {slowest!r}")
    print(f"{told!r} delivered everything: {told.wait(30)}")


if __name__ == "__main__":
    main()
