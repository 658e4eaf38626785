"""Write a picture of every page of the dashboard, at two widths and in both themes.

``make screenshots`` writes them to ``build/screenshots`` and those that the documentation shows
to ``doc/images``.
"""

from __future__ import annotations

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

from playwright.sync_api import Page, sync_playwright

from daskperiment import Experiment, experiments
from daskperiment.dashboard import serving

ROOT = Path(__file__).parent.parent
ALL = ROOT / "build" / "screenshots"
CHOSEN = {
    "trials-1280-light": "dashboard.png",
    "trial-1280-light": "dashboard_trial.png",
    "graph-1280-dark": "dashboard_graph.png",
    "compare-1280-light": "dashboard_compare.png",
}
"""Pictures that the documentation shows, and their names there."""
WIDTHS = {1280: 860, 360: 740}
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
        ex = Experiment("digits")
        while ex.trial_id < 12 or not ex[12].metrics:
            time.sleep(0.1)
        try:
            yield
        finally:
            running.send_signal(signal.SIGKILL)
            running.wait()
            os.chdir(ROOT)


def pictures(page: Page, url: str, label: str) -> None:
    """Write a picture of each page."""
    for name, path in PAGES.items():
        page.goto("about:blank")
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
                    pictures(context.new_page(), dashboard.url, f"{width}-{theme}")
                    context.close()
        browser.close()
    for name, shown in CHOSEN.items():
        shutil.copy(ALL / f"{name}.png", ROOT / "doc" / "images" / shown)


if __name__ == "__main__":
    main()
