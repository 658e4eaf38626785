"""Parameters from a TOML and a YAML file, merged, converted and kept with the trial.

You will see a line fitted twice, with the values of ``base.toml`` and then with those of
``small.yaml`` over them, what a misspelt name says, and the merged mapping that the last trial
keeps.
"""

from __future__ import annotations

from pathlib import Path

from daskperiment import Experiment, Namespace, ParameterError

HERE = Path(__file__).parent

ex = Experiment("parameter_files")
points = ex.parameter("points", type=int)
noise = ex.parameter("noise", type=float)
model = ex.parameter("model")


@ex
def make(points: int, noise: float) -> list[tuple[float, float]]:
    xs = [i / points for i in range(points)]
    return [(x, 2 * x + noise * float(ex.rng().normal())) for x in xs]


@ex.result
def slope(data: list[tuple[float, float]], model: Namespace) -> float:
    found = 0.0
    for _ in range(model.epochs):
        error = sum(x * (y - found * x) for x, y in data) / len(data)
        found += model.lr * error
    return round(found, 3)


def main() -> None:
    s = slope(make(points, noise), model)
    ex.load_parameters(HERE / "base.toml")
    print("base: ", s.compute(seed=1))
    ex.load_parameters(HERE / "small.yaml", overrides={"model.lr": 1.5})
    print("small:", s.compute(seed=1))
    try:
        ex.load_parameters({"nose": 0.1})
    except ParameterError as error:
        print(error)
    print("kept: ", ex.latest.configuration["resolved"])


if __name__ == "__main__":
    main()
