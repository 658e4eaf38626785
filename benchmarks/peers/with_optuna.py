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


if __name__ == "__main__":
    common.run(common.Peer(open_store, trial, points, lambda study: study.trials_dataframe()))
