"""Suggestions of other tools: a loss, or what begins a search, is read, and a point written."""

import json
import sys
import time
import warnings


class Skopt:
    def __init__(self, kind, bounds, seed):
        import skopt

        more = {} if kind == "GP" else {"acq_func": "EI"}  # as gp_minimize and forest_minimize
        self.optimizer = skopt.Optimizer(bounds, base_estimator=kind, random_state=seed, **more)

    def ask(self):
        self.point = [float(number) for number in self.optimizer.ask()]
        return self.point

    def tell(self, loss):
        self.optimizer.tell(self.point, loss)


class Optuna:
    def __init__(self, kind, bounds, seed):
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        sampler = getattr(optuna.samplers, kind)(seed=seed)
        self.study, self.bounds = optuna.create_study(sampler=sampler), bounds

    def ask(self):
        self.trial = self.study.ask()
        return [self.trial.suggest_float(f"x{i}", *ends) for i, ends in enumerate(self.bounds)]

    def tell(self, loss):
        self.study.tell(self.trial, loss)


TOOLS = {
    "skopt gp": (Skopt, "GP"),
    "skopt forest": (Skopt, "RF"),
    "skopt extra-trees": (Skopt, "ET"),
    "optuna tpe": (Optuna, "TPESampler"),
    "optuna gp": (Optuna, "GPSampler"),
}


def main():
    warnings.simplefilter("ignore")
    kind, argument = TOOLS[sys.argv[1]]
    for line in sys.stdin:
        order = json.loads(line)
        if "bounds" in order:
            tool = kind(argument, [tuple(ends) for ends in order["bounds"]], order["seed"])
        start = time.process_time()
        if "loss" in order:
            tool.tell(order["loss"])
        point = tool.ask()
        print(json.dumps([point, time.process_time() - start]), flush=True)


if __name__ == "__main__":
    main()
