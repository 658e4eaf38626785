"""Code as other tools want it runs as it is: a function, a class in steps, and a block.

You will see a function's results for three rates, a batch that runs only what is missing, one
long run that leaves a result for each hundred iterations, and the history of all.
"""

import random

from daskperiment import Experiment, Milestone


def run(x: float = 1, **kwargs: object) -> float:
    """As EXP wants it."""
    return x**2


class Walk:
    """As smallab wants it: one long walk, of which shorter ones are the beginning."""

    def initialize(self, specification: dict) -> None:
        self.most = specification["steps"]
        self.count, self.at = 0, 0.0

    def step(self) -> object:
        self.count += 1
        self.at += random.gauss(0, 1)
        if self.count % 100 == 0:
            return Milestone(
                {"steps": self.count},
                round(self.at, 3),
                done=self.count == self.most,
                progress=(self.count, self.most),
            )
        return None

    def steps_before_checkpoint(self) -> int:
        return 50


def main() -> None:
    ex = Experiment("targets", seed=1)

    trials = ex.map(run, [{"x": x} for x in (-2, 0, 2)], progress=False)
    print("squares:", [trial.result for trial in trials])
    again = ex.map(run, [{"x": x} for x in (0, 1)], skip_completed=True, progress=False)
    print("again:", [trial.result for trial in again], f"in {ex.trial_id} trials")

    long = ex.run(Walk, steps=300)
    asked = [{"steps": 100}, {"steps": 200}]
    for trial in ex.map(Walk, asked, skip_completed=True, progress=False):
        print(f"{trial.parameters['steps']} steps: {trial.result}, part of {trial.part_of}")
    print(f"300 steps: {long.result}")

    with ex.trial(a=3) as t:
        t.log_metric("half", t.parameters["a"] / 2)
        t.result = t.parameters["a"] ** 2
    print("block:", ex[t.number].result)

    print(ex.get_history(columns=["x", "steps", "a", "Result"]).to_string())


if __name__ == "__main__":
    main()
