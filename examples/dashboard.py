"""Watch trials while they run: networks that learn to read handwritten digits.

Needs scikit-learn, and ``pip install "daskperiment[dashboard]"``.  It prints an address: open it in
a browser.  You will see

- the table of trials grow, with the curves of their loss and accuracy;
- one trial whose learning rate is too high, which fails and says where;
- on the page of a trial its graph, with what each step did, the code and the output, and as
  artifacts the confusion matrix as an image and a report as text;
- two or more trials that are marked in the table side by side: only what differs.

Ctrl-C ends it.  The history is kept in the folder ``daskperiment_cache``, and ``daskperiment
dashboard`` shows it again.
"""

from __future__ import annotations

import math
import struct
import sys
import zlib
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import classification_report, confusion_matrix
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from daskperiment import Experiment

ex = Experiment("digits", seed=7)

hidden = ex.parameter("hidden", default=32, type=int, help="Units of the hidden layer.")
rate = ex.parameter("rate", default=0.01, type=float, help="Learning rate.")
epochs = ex.parameter("epochs", default=30, type=int)


@ex(nout=2)
def load() -> Any:
    return load_digits(return_X_y=True)


@ex(nout=4)
def split(x: Any, y: Any) -> Any:
    return train_test_split(x, y, test_size=0.3, stratify=y)


@ex(nout=2)
def scale(train: Any, test: Any) -> Any:
    scaler = StandardScaler().fit(train)
    return scaler.transform(train), scaler.transform(test)


@ex.persist
def fit(x: Any, y: Any, test: Any, truth: Any, hidden: int, rate: float, epochs: int) -> Any:
    model = MLPClassifier(hidden, solver="sgd", learning_rate_init=rate)
    for epoch in range(epochs):
        model.partial_fit(x, y, classes=range(10))
        accuracy = model.score(test, truth)
        ex.log_metrics({"loss": model.loss_, "accuracy": accuracy}, epoch)
        if not math.isfinite(model.loss_) or model.loss_ > 20:
            raise ArithmeticError(f"the loss is {model.loss_:.3g} after {epoch + 1} epochs")
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1:3}  loss {model.loss_:.4f}  accuracy {accuracy:.3f}")
    return model


@ex.result
def score(model: Any, x: Any, y: Any) -> float:
    found = model.predict(x)
    ex.save_artifact("confusion.png", image(confusion_matrix(y, found)))
    ex.save_artifact("report.txt", classification_report(y, found, zero_division=0))
    return float(model.score(x, y))


def image(counts: Any) -> bytes:
    """A matrix as a PNG of grey squares, dark where a count is high."""
    grey = 255 - (255 * np.sqrt(counts / counts.max())).astype(np.uint8)
    pixels = np.kron(grey, np.ones((24, 24), np.uint8))
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    height, width = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def graph() -> Any:
    x, y = load()
    x_train, x_test, y_train, y_test = split(x, y)
    train, test = scale(x_train, x_test)
    return score(fit(train, y_train, test, y_test, hidden, rate, epochs), test, y_test)


def main() -> None:
    """Run the trials, and show them until Ctrl-C."""
    dashboard = ex.start_dashboard(blocking=False)
    s = graph()
    for size in (8, 32, 128):
        for speed in (0.001, 0.01, 0.1):
            s.compute(parameters={"hidden": size, "rate": speed})
    try:
        s.compute(parameters={"rate": 30.0})
    except ArithmeticError as error:
        print("A rate of 30 is too high:", error)
    best = ex.best("maximize")
    best.tags = ["best"]
    best.note = "the first one to try on other digits"
    print(f"Best: {best.result:.3f} with", best.parameters)
    if "--no-wait" not in sys.argv:
        dashboard.wait()


if __name__ == "__main__":
    main()
