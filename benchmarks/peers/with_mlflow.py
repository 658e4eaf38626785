"""MLflow with SQLite, through its client, which is its fastest way."""

import time

import common
import mlflow
from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

URI = "sqlite:///mlflow.db"


def open_store():
    mlflow.set_tracking_uri(URI)
    client = MlflowClient(URI)
    found = client.get_experiment_by_name("bench")
    return client, found.experiment_id if found else client.create_experiment("bench")


def trial(store, a, b):
    client, experiment = store
    run = client.create_run(experiment).info.run_id
    result = common.score(common.train(common.prepare(a, b)))
    parameters = [Param("a", str(a)), Param("b", str(b))]
    now = int(time.time() * 1000)
    client.log_batch(run, [Metric("result", result, now, 0)], parameters)
    client.set_terminated(run)


def points(store, number):
    client, experiment = store
    run = client.create_run(experiment).info.run_id
    for n in range(number):
        client.log_metric(run, "loss", n * 0.5, step=n)
    client.set_terminated(run)


def history(store):
    return mlflow.search_runs([store[1]], max_results=50_000)


if __name__ == "__main__":
    common.run(common.Peer(open_store, trial, points, history))
