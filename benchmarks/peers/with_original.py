"""daskperiment 0.5.0, the original: a folder with one pickle of the whole history, or Redis."""

import sys

del sys.modules["__main__"].__file__  # or it would run a trial when a result is built

import common  # noqa: E402

from daskperiment import Experiment  # noqa: E402


def open_store():
    ex = Experiment("bench", backend=sys.argv[2] or "local")
    a, b = ex.parameter("a"), ex.parameter("b")
    return ex, ex.result(common.score)(ex(common.train)(ex(common.prepare)(a, b)))


def trial(store, a, b):
    ex, s = store
    ex.set_parameters(a=a, b=b)
    s.compute(scheduler="synchronous")


def points(store, number):
    ex = store[0]
    ex.set_parameters(a=1, b=2)

    def train(a):
        for n in range(number):
            ex.save_metric("loss", epoch=n, value=n * 0.5)
        return a

    ex.result(train)(ex.parameter("a")).compute(scheduler="synchronous")


if __name__ == "__main__":
    common.run(common.Peer(open_store, trial, points, lambda store: store[0].get_history()))
