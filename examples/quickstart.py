"""Two functions, three trials, one table.

You will see three trials of ``10 / (a + b)``, one of which fails, and the history in which
all three have a row.  Run it again: the trials go on from number 4, because the history is kept
in the folder ``daskperiment_cache``.
"""

from __future__ import annotations

from daskperiment import Experiment

ex = Experiment("quickstart")
a = ex.parameter("a")
b = ex.parameter("b", default=2)


@ex
def prepare(a: int, b: int) -> int:
    return a + b


@ex.result
def score(total: int) -> float:
    return 10 / total


def main() -> None:
    s = score(prepare(a, b))
    for value in (3, 8, -2):
        try:
            print(f"a={value}: score {s.compute(parameters={'a': value})}")
        except ZeroDivisionError as error:
            print(f"a={value}: {error}")
    print()
    print(ex.get_history().to_string())
    print()
    print("best:", ex.best("maximize"))


if __name__ == "__main__":
    main()
