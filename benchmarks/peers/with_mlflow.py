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


def fill(store, number):
    """Copies of one run in all tables that have something of it."""
    trial(store, 0, 2)

    def change(table, row, n):
        row["run_uuid"] = f"{n:032x}"
        if table == "runs":
            row["start_time"] += n
            row["end_time"] += n
        elif table.endswith("metrics"):
            row["value"] = float(2 * (n % 1000))
        elif row["key"] in "ab":
            row["value"] = str(n % 1000)

    tables = ("runs", "params", "metrics", "latest_metrics", "tags")
    common.copied("mlflow.db", tables, number, change)


def page(store):
    client, experiment = store
    where = "metrics.result > 100 and attributes.status = 'FINISHED'"
    order = ["metrics.result DESC"]
    return len(client.search_runs([experiment], where, max_results=50, order_by=order))


if __name__ == "__main__":
    common.run(common.Peer(open_store, trial, points, history, fill, page))
