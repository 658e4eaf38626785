"""Write a picture of every page of the dashboard, at two widths and in both themes.

``make screenshots`` writes them to ``build/screenshots`` and those that the documentation shows
to ``doc/images``.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.sync_api import Page, sync_playwright

from daskperiment import Experiment, experiments
from daskperiment.dashboard import serving
from daskperiment.search import Branch, Float, Int

ROOT = Path(__file__).parent.parent
ALL = ROOT / "build" / "screenshots"
CHOSEN = {
    "trials-1280-light": "dashboard.png",
    "trial-1280-light": "dashboard_trial.png",
    "graph-1280-dark": "dashboard_graph.png",
    "compare-1280-light": "dashboard_compare.png",
    "search-1280-light": "dashboard_search.png",
}
"""Pictures that the documentation shows, and their names there."""
WIDTHS = {1280: 860, 360: 740}
TALL = {"search": 990}
"""Pages of which more is shown."""
PAGES = {
    "experiments": "experiments",
    "trials": "experiments/digits",
    "trial": "experiments/digits/trials/9",
    "graph": "experiments/digits/trials/9#graph",
    "metrics": "experiments/digits/trials/9#metrics",
    "code": "experiments/digits/trials/9#code",
    "environment": "experiments/digits/trials/9#environment",
    "output": "experiments/digits/trials/9#output",
    "artifacts": "experiments/digits/trials/9#artifacts",
    "usage": "experiments/digits/trials/12#usage",
    "running": "running",
    "failed": "experiments/digits/trials/10",
    "compare": "experiments/digits/compare?trials=3&trials=6&trials=9",
    "searches": "experiments/tuned/searches",
    "search": "experiments/tuned/searches/rates%20and%20models"
    "?range=%5B%22p%3Arate%22%2C0.001%2C0.1%5D",
    "pareto": "experiments/tuned/searches/error%20and%20cost",
    "empty": "experiments/empty",
}
UNFINISHED = """
    import os, signal, sys, time
    from daskperiment import Experiment

    ex = Experiment("digits", seed=7)

    @ex.result
    def train(hidden, fate):
        for epoch in range(12):
            ex.log_metric("loss", 2 / (epoch + 1), epoch)
        print("training", hidden, "units", flush=True)
        if fate == "killed":
            time.sleep(1)
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(600)

    train(ex.parameter("hidden"), sys.argv[1]).compute(parameters={"hidden": 64})
"""
"""A trial of another process that is killed, or goes on for long."""


def searches() -> None:
    """Two searches: by one metric in branches, and by two metrics."""
    ex = Experiment("tuned", seed=7)

    @ex.result
    def fit(model: str, rate: float, optimizer: str, batch: int, penalty: Any, depth: Any) -> Any:
        if optimizer == "sgd" and rate > 0.5:
            raise ValueError("the loss is not finite")
        error = 0.05 + 0.04 * (math.log10(rate) + 2.2) ** 2 + batch / 4000
        error += 0.03 * abs(math.log10(penalty)) if model == "svm" else 0.0
        error += 0.01 * (depth - 4) ** 2 if model == "forest" else 0.0
        return {"error": error, "cost": 40 / batch + rate}

    names = ("model", "rate", "optimizer", "batch", "penalty", "depth")
    node = fit(*(ex.parameter(name, default=None) for name in names))
    branches = {"svm": {"penalty": Float(0.01, 100, log=True)}, "forest": {"depth": Int(2, 9)}}
    space = {
        "model": Branch({**branches, "net": {}}),
        "rate": Float(1e-5, 1, log=True),
        "optimizer": ["adam", "sgd"],
        "batch": Int(16, 256),
    }
    looked_at: dict[str, dict[str, Any]] = {
        "rates and models": {"error": "minimize"},
        "error and cost": {"error": "minimize", "cost": "minimize"},
    }
    for name, metrics in looked_at.items():
        ex.search(node, space, 60, sampler="random", metrics=metrics, name=name, progress=False)


@contextmanager
def store() -> Iterator[None]:
    """A store in a temporary working directory, with trials of every kind."""
    quiet = {**os.environ, "DASKPERIMENT_LOG_LEVEL": "ERROR"}
    with TemporaryDirectory() as folder:
        os.chdir(folder)
        example = [sys.executable, str(ROOT / "examples" / "dashboard.py"), "--no-wait"]
        subprocess.run(example, check=True, stdout=subprocess.DEVNULL, env=quiet)
        Path("unfinished.py").write_text(textwrap.dedent(UNFINISHED))
        subprocess.run([sys.executable, "unfinished.py", "killed"], check=False, env=quiet)
        running = subprocess.Popen([sys.executable, "unfinished.py", "running"], env=quiet)
        searches()
        ex = Experiment("digits")
        while ex.trial_id < 12 or not ex[12].metrics:
            time.sleep(0.1)
        try:
            yield
        finally:
            running.send_signal(signal.SIGKILL)
            running.wait()
            os.chdir(ROOT)


def pictures(page: Page, url: str, width: int, theme: str) -> None:
    """Write a picture of each page."""
    label = f"{width}-{theme}"
    for name, path in PAGES.items():
        page.goto("about:blank")
        page.set_viewport_size({"width": width, "height": TALL.get(name, WIDTHS[width])})
        page.goto(url + path, wait_until="load")
        page.wait_for_load_state("networkidle") if name == "empty" else page.wait_for_timeout(1200)
        page.screenshot(path=ALL / f"{name}-{label}.png")


def main() -> None:
    """Write all pictures."""
    ALL.mkdir(parents=True, exist_ok=True)
    (ROOT / "doc" / "images").mkdir(exist_ok=True)
    with store(), sync_playwright() as playwright:
        backend = Experiment(experiments()[0]).backend
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        with serving.start(backend, "empty", port=0) as dashboard:
            for width, height in WIDTHS.items():
                for theme in ("light", "dark"):
                    context = browser.new_context(
                        viewport={"width": width, "height": height},
                        color_scheme=theme,  # type: ignore[arg-type]
                        reduced_motion="reduce",
                    )
                    pictures(context.new_page(), dashboard.url, width, theme)
                    context.close()
        browser.close()
    for name, shown in CHOSEN.items():
        shutil.copy(ALL / f"{name}.png", ROOT / "doc" / "images" / shown)


if __name__ == "__main__":
    main()
