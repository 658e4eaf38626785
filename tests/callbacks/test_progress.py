"""The bar of a batch, on a real pseudo-terminal."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import textwrap
import warnings
from contextlib import suppress
from io import StringIO
from pathlib import Path

import pytest

from daskperiment import CallbackError, Experiment
from daskperiment.callbacks import Progress
from tests.callbacks.batches import Batch, inverse

pty = pytest.importorskip("pty", reason="needs pseudo-terminals")

ROOT = Path(__file__).parent.parent.parent
BEGIN = """
    import logging, os, sys, threading, warnings
    from daskperiment import Experiment
    from daskperiment.callbacks import Callback, Progress, progress
    from tests.callbacks.batches import Batch, inverse

    progress._PAUSE = 0.001  # drawn so often that whoever writes beside it meets it
    logging.getLogger("daskperiment").setLevel(logging.WARNING)
    logging.getLogger("daskperiment.execution").setLevel(logging.CRITICAL)
    ex = Experiment("drawn", backend="memory://")
    places = [{"a": a} for a in (4, 0, 2, 8)]
"""


def shown(script: str) -> list[str]:
    """What a script leaves on a terminal of 150 columns."""
    import fcntl
    import struct
    import termios

    Path("script.py").write_text(textwrap.dedent(BEGIN) + textwrap.dedent(script))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 150, 0, 0))
    command = [sys.executable, "script.py"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    with subprocess.Popen(
        command, stderr=theirs, stdout=theirs, env=environment, start_new_session=True
    ) as process:
        os.close(theirs)
        written = b""
        try:
            while part := _read(ours):
                written += part
            assert process.wait(60) == 0, written.decode()
        finally:
            os.close(ours)
            with suppress(ProcessLookupError):  # also what it has forked
                os.killpg(process.pid, signal.SIGKILL)
    return screen(written.decode())


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # that is how a pseudo-terminal ends
        return b""


def screen(written: str) -> list[str]:
    """Lines of a terminal that knows line feeds and carriage returns."""
    lines = [""]
    column = 0
    for sign in written:
        if sign == "\n":
            lines.append("")
            column = 0
        elif sign == "\r":
            column = 0
        else:
            lines[-1] = lines[-1][:column].ljust(column) + sign + lines[-1][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines if line.strip()]


def test_a_bar_shows_how_things_stand() -> None:
    (line,) = shown("""
        batch = Batch(ex, inverse(ex), places, Progress("maximize"))
        batch.run()
        """)

    assert line.startswith("drawn: 100%|")
    assert re.search(r"\| 4/4 \[\d\d:\d\d<00:00, .*, failed 1, best 0.5 \(trial 3\)\]$", line)


def test_it_shows_what_runs_and_the_time_left_and_keeps_what_is_there_when_a_batch_stops() -> None:
    (line,) = shown("""
        class Stop(Callback):
            def before_trial(self, *, batch, **rest):
                batch.running = 1
            def after_trial(self, *, batch, trial):
                batch.running = 2
                batch.stop("enough")
        batch = Batch(ex, inverse(ex), places, Stop(), Progress())
        batch.run()
        """)

    assert re.search(r"25%\|.*\| 1/4 \[.*<\d\d:\d\d, .*, running 2, scores 0.25\]$", line)


def test_skipped_places_are_there_from_the_start() -> None:
    (line,) = shown("""
        inverse(ex).compute(parameters={"a": 4})
        batch = Batch(ex, inverse(ex), places, Progress("minimize", metric="a"))
        batch.skipped, batch.trials = 2, [ex.latest]
        batch.run()
        """)

    assert re.search(r"4/4 \[.*, skipped 2, best 2 \(trial 2\)\]$", line)


@pytest.mark.parametrize(
    "handler",
    [
        "logging.basicConfig(format='%(message)s')",
        "logging.getLogger('daskperiment').handlers = [logging.StreamHandler(sys.stdout)]",
        "",
    ],
)
def test_lines_of_the_log_stand_above_the_bar(handler: str) -> None:
    *lines, bar = shown(f"""
        {handler or "pass"}
        log = logging.getLogger("daskperiment.test")
        class Logs(Callback):
            def after_trial(self, **rest):
                threads = [threading.Thread(target=self.log, args=(i,)) for i in range(3)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
            def log(self, number):
                for _ in range(100):
                    log.warning("a line of %s", number)
        Batch(ex, inverse(ex), places, Progress(), Logs()).run()
        """)

    assert len(lines) == 1200
    assert {re.sub(r"^[\d:]{8} \[daskperiment\] \[WARNING\] ", "", line) for line in lines} == {
        f"a line of {number}" for number in range(3)
    }
    assert bar.startswith("drawn: 100%")


def test_warnings_stand_above_the_bar() -> None:
    *lines, bar = shown("""
        class Warns(Callback):
            def after_trial(self, **rest):
                for _ in range(100):
                    warnings.warn("look out", stacklevel=1)
        warnings.simplefilter("always")
        warnings.formatwarning = lambda message, *rest: f"{message}\\n"
        Batch(ex, inverse(ex), places, Progress(), Warns()).run()
        """)

    assert lines == ["look out"] * 400
    assert bar.startswith("drawn: 100%")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_that_is_forked_meanwhile_logs_and_leaves_the_bar_alone() -> None:
    *lines, bar = shown("""
        log = logging.getLogger("daskperiment.test")
        class Forks(Callback):
            def after_trial(self, **rest):
                for _ in range(25):
                    child = os.fork()
                    if not child:
                        log.warning("a line of the child")
                        os._exit(0)
                    assert os.waitpid(child, 0)[1] == 0
        Batch(ex, inverse(ex), places, Progress(), Forks()).run()
        """)

    assert sum(line.endswith("a line of the child") for line in lines) == 100
    assert bar.startswith("drawn: 100%")


def test_nothing_is_shown_where_stderr_is_no_terminal() -> None:
    Path("script.py").write_text(
        textwrap.dedent(BEGIN) + "Batch(ex, inverse(ex), places[:1], Progress()).run()"
    )
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        [sys.executable, "script.py"], capture_output=True, text=True, env=environment, check=True
    )

    assert (done.stdout, done.stderr) == ("", "")


class Terminal(StringIO):
    """Text in memory that passes for a terminal."""

    def isatty(self) -> bool:
        return True


def test_log_and_warnings_are_as_before_when_a_batch_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    ex, handler = Experiment("drawn", backend="memory://"), logging.StreamHandler(sys.stderr)
    logging.getLogger("daskperiment").addHandler(handler)
    before = list(logging.getLogger("daskperiment").handlers), warnings.showwarning

    try:
        Batch(ex, inverse(ex), [{"a": 1}], Progress()).run()
        after = list(logging.getLogger("daskperiment").handlers), warnings.showwarning
    finally:
        logging.getLogger("daskperiment").removeHandler(handler)

    assert "1/1" in sys.stderr.getvalue()
    assert after == before


def test_a_bar_is_shown_in_a_notebook(tmp_path: Path) -> None:
    pytest.importorskip("nbclient")
    from tests.test_notebooks import execute

    (shown,) = execute(tmp_path, textwrap.dedent(BEGIN) + textwrap.dedent("""
        Batch(ex, inverse(ex), places, Progress()).run()
        None
        """))  # fmt: skip

    assert "4/4" in shown


def test_a_direction_that_is_none_is_refused() -> None:
    with pytest.raises(CallbackError, match="'minimize' or 'maximize', not 'up'"):
        Progress("up")  # type: ignore[arg-type]
