"""The pages where things go otherwise than usual: odd names, wrong turns, a server that is away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from daskperiment import Experiment
from daskperiment.backends.memory import MemoryBackend
from daskperiment.dashboard import serving
from daskperiment.dashboard.serving import Dashboard

OpenPage = Callable[..., Any]
INHERITED = ["__proto__", "constructor", "toString"]
"""Names that every object of JavaScript knows without having them."""


def test_names_that_every_object_knows_are_names_as_any_other(open_page: OpenPage) -> None:
    ex = Experiment("odd", backend=MemoryBackend())

    @ex.result
    def add(a: int, b: int, c: int) -> int:
        if a:
            ex.log_metrics(dict.fromkeys(INHERITED, 1.0))
        return a + b + c

    total = add(*[ex.parameter(name) for name in INHERITED])
    for value in (1, 0):
        total.compute(parameters=dict.fromkeys(INHERITED, value), scheduler="synchronous")
    names = [
        *(f"columns={name}" for name in INHERITED),
        *(f"metrics={name}" for name in INHERITED),
    ]

    with serving.start(ex.backend, ex.id, port=0) as dashboard:
        page = open_page("/experiments/odd?" + "&".join(names), dashboard)
        page.wait_for_selector('tr[data-trial="1"]')
        heads = page.eval_on_selector_all(
            "th[data-column] .head-text, th[data-metric]", "all => all.map((it) => it.textContent)"
        )
        texts = page.eval_on_selector_all(
            'tr[data-trial="2"] td', "all => all.map((it) => it.textContent)"
        )

    assert heads == ["Trial", "State", *INHERITED, *INHERITED]
    assert texts == ["Complete", *["0"] * 3, *["–no such metric"] * 3]
