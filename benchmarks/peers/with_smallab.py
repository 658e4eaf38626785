"""smallab: a batch of one specification a trial, in this process, without its dashboard."""

import common
from smallab.experiment_types.experiment import Experiment
from smallab.runner.runner import ExperimentRunner
from smallab.runner_implementations.main_process_runner import MainRunner
from smallab.utilities.experiment_loading.experiment_loader import experiment_iterator


class Steps(Experiment):
    def get_name(self, specification):
        return "-".join(map(str, specification.values()))

    def main(self, specification):
        if "points" in specification:  # it has no call for a point: a list in the result
            return {"loss": [n * 0.5 for n in range(specification["points"])]}
        a, b = specification["a"], specification["b"]
        return {"result": common.score(common.train(common.prepare(a, b)))}


def run(store, specification):
    ExperimentRunner().run(
        "bench", [specification], Steps(), specification_runner=MainRunner(),
        use_dashboard=False, propagate_exceptions=True,
    )  # fmt: skip


def trial(store, a, b):
    run(store, {"a": a, "b": b})


def points(store, number):
    run(store, {"points": number})


def history(store):
    import pandas as pd

    return pd.DataFrame([r["specification"] | r["result"] for r in experiment_iterator("bench")])


if __name__ == "__main__":
    common.run(common.Peer(lambda: None, trial, points, history))
