"""Optuna with SQLite, or with its journal file, and random values, which cost least."""

import sys

import common
import optuna

optuna.logging.set_verbosity(optuna.logging.WARNING)
RANGE = {name: optuna.distributions.IntDistribution(0, 1_000_000) for name in "ab"}


def storage():
    if sys.argv[2] == "sqlite":
        return "sqlite:///optuna.db"
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend("optuna.log"))


def open_store():
    return optuna.create_study(
        storage=storage(),
        study_name="bench",
        load_if_exists=True,
        sampler=optuna.samplers.RandomSampler(),
    )


def trial(study, a, b):
    asked = study.ask(RANGE)
    model = common.train(common.prepare(asked.params["a"], asked.params["b"]))
    study.tell(asked, common.score(model))


def points(study, number):
    asked = study.ask(RANGE)
    for n in range(number):
        asked.report(n * 0.5, n)
    study.tell(asked, 1.0)


def fill(study, number):
    """Copies of one trial in all tables that have something of it."""
    trial(study, 0, 0)

    def change(table, row, n):
        row["trial_id"] = n + 1
        if table == "trials":
            row["number"] = n
        elif table == "trial_params":
            row["param_id"] += 2 * n
            row["param_value"] = float(n % 1000)
        else:
            row["trial_value_id"] = n + 1
            row["value"] = float(2 * (n % 1000))

    common.copied("optuna.db", ("trials", "trial_params", "trial_values"), number, change)


def page(study):
    """Chosen and sorted here: there is no query but for all trials."""
    complete = (optuna.trial.TrialState.COMPLETE,)
    found = [t for t in study.get_trials(deepcopy=False, states=complete) if t.params["a"] > 100]
    return len(sorted(found, key=lambda t: t.value, reverse=True)[:50])


def batch(study, number):
    def objective(asked):
        a, b = (asked.suggest_int(name, 0, 1_000_000) for name in "ab")
        return common.score(common.train(common.prepare(a, b)))

    study.optimize(objective, n_trials=number, n_jobs=2)


if __name__ == "__main__":
    table = common.Peer(
        open_store, trial, points, lambda study: study.trials_dataframe(), fill, page, batch
    )
    common.run(table)
