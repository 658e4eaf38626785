"""Sacred with its file storage: a folder a run, with configuration, host and sources."""

import json
from pathlib import Path

import common
from sacred import Experiment
from sacred.observers import FileStorageObserver


def open_store():
    ex = Experiment("bench")
    ex.observers.append(FileStorageObserver("runs"))
    ex.add_config(a=1, b=2, points=0)

    @ex.main
    def main(a, b, points, _run):
        for n in range(points):
            _run.log_scalar("loss", n * 0.5, n)
        return common.score(common.train(common.prepare(a, b)))

    return ex


def trial(ex, a, b):
    ex.run(config_updates={"a": a, "b": b})


def points(ex, number):
    ex.run(config_updates={"points": number})


def history(ex):
    import pandas as pd

    rows = []
    for folder in Path("runs").glob("[0-9]*"):
        run = json.loads((folder / "run.json").read_text())
        kept = {name: run[name] for name in ("status", "result", "start_time", "stop_time")}
        rows.append(json.loads((folder / "config.json").read_text()) | kept)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    common.run(common.Peer(open_store, trial, points, history))
