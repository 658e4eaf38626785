"""The work of the peers by this daskperiment, so that all go through one harness."""

import common

from daskperiment import Experiment


def open_store():
    ex = Experiment("bench", backend="store")
    a, b = ex.parameter("a", default=1), ex.parameter("b", default=2)
    s = ex.result(common.score)(ex(common.train)(ex(common.prepare)(a, b)))
    return ex, s


def trial(store, a, b):
    store[1].compute(scheduler="synchronous", parameters={"a": a, "b": b})


def points(store, number):
    ex = store[0]

    def train():
        for n in range(number):
            ex.save_metric("loss", n, n * 0.5)

    ex.result(train)().compute(scheduler="synchronous")


def batch(store, number):
    ex, s = store
    ex.map(s, [{"a": n, "b": 2} for n in range(number)], "threads", 2, progress=False)


if __name__ == "__main__":
    table = common.Peer(
        open_store, trial, points, lambda store: store[0].get_history(), batch=batch
    )
    common.run(table)
