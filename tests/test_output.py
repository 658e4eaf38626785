"""What steps print and log is kept with their trial."""

from __future__ import annotations

import contextlib
import contextvars
import io
import logging
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import pytest

from daskperiment import Experiment, Secret
from daskperiment.errors import ValueNotKeptError

MEBI = 1024 * 1024


def run(ex: Experiment, step: Callable[[int], Any], **options: Any) -> Any:
    """The output of a trial of one step."""
    ex.result(step)(ex.parameter("a", default=1)).compute(**options)
    return ex.latest.output


# -- what is captured -------------------------------------------------------------------


def test_prints_errors_and_logs_are_kept_on_every_scheduler(tmp_path: Path, scheduler: Any) -> None:
    def train(a):
        print("line", a)
        print("trouble", file=sys.stderr)
        logging.getLogger("train.loop").warning("a is %d", a)
        return a

    output = run(Experiment("example", backend=tmp_path / "store"), train, scheduler=scheduler)

    assert [line[1:] for line in output] == [
        ("train", 0, "stdout", "line 1", None, None),
        ("train", 0, "stderr", "trouble", None, None),
        ("train", 0, "logging", "a is 1", "train.loop", "WARNING"),
    ]


def test_output_still_arrives_where_it_went_before(
    memory_ex: Experiment, capfd: pytest.CaptureFixture[str]
) -> None:
    def train(a):
        print("line")
        print("trouble", file=sys.stderr)

    run(memory_ex, train)

    assert capfd.readouterr().out == "line\n"


def test_output_is_told_apart_by_step_call_and_stream(memory_ex: Experiment) -> None:
    @memory_ex
    def clean(a):
        print("clean", a)
        return a

    @memory_ex.result
    def train(*a):
        print("train", file=sys.stderr)

    train(clean(1), clean(2)).compute(scheduler="synchronous")
    output = memory_ex[1].output

    assert sorted(str(output).split("\n")) == ["clean 1", "clean 2", "train"]
    assert output.text(step="clean", call=0) == "clean 1"
    assert output.text(step="clean", call=1) == "clean 2"
    assert output.text(stream="stderr") == output.text(step="train") == "train"
    assert output.text(step="nowhere") == ""


def test_output_of_steps_that_run_at_the_same_time_is_not_mixed(ex: Experiment) -> None:
    both = threading.Barrier(2)

    @ex
    def speak(word):
        for _ in range(50):
            both.wait(60)
            print(word, end="-")
            print(word)
        return word

    @ex.result
    def train(*words):
        return len(words)

    train(speak("a"), speak("b")).compute(scheduler="threads", num_workers=2)
    texts = {ex[1].output.text(step="speak", call=call) for call in (0, 1)}

    assert texts == {"\n".join([f"{word}-{word}"] * 50) for word in "ab"}


def test_the_innermost_trial_has_the_output(memory_ex: Experiment) -> None:
    inner = Experiment("inner", backend=memory_ex.backend)

    @inner.result
    def train():
        print("inside")

    def search(a):
        print("before")
        train().compute(scheduler="synchronous")
        print("after")

    output = run(memory_ex, search)

    assert output.text(stream="stdout") == "before\nafter"
    assert str(inner[1].output) == "inside"


def test_a_failed_step_keeps_its_output(ex: Experiment) -> None:
    def train(a):
        print("about to fail")
        print("half a line", end="")
        raise ValueError

    with pytest.raises(ValueError):
        run(ex, train)

    assert str(ex[1].output) == "about to fail\nhalf a line"


def in_a_script(step: str) -> tuple[str, bytes]:
    """Output and stdout of a trial where the streams are those of the interpreter."""
    script = f"""
import subprocess, sys, warnings
from daskperiment import Experiment
ex = Experiment("example", backend="script")
@ex.result
def train():
{textwrap.indent(textwrap.dedent(step), "    ")}
train().compute(scheduler="synchronous")
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, check=True, timeout=300)
    return str(Experiment("example", backend="script")[1].output), done.stdout


def test_bytes_written_to_a_stream_are_output_once() -> None:
    output, screen = in_a_script(r"""
        print("text")
        sys.stdout.flush()
        sys.stdout.buffer.write(b"bytes \xff\n")
        sys.stdout.buffer.flush()
        print("more")
    """)

    assert screen == b"text\nbytes \xff\nmore\n"
    assert output == "text\nbytes \\xff\nmore"


def test_bytes_that_are_no_text_of_the_stream_disturb_nothing() -> None:
    output, screen = in_a_script(r"""
        sys.stdout.reconfigure(encoding="utf-16-le")
        sys.stdout.buffer.write(b"a\0\xd8")
        sys.stdout.reconfigure(encoding="utf-8")
    """)

    assert screen == b"a\0\xd8"
    assert output == r"a\xd8"


def test_a_warning_is_output() -> None:
    assert "UserWarning: strange" in in_a_script("warnings.warn('strange')")[0]


def test_what_another_program_prints_is_no_output() -> None:
    output, screen = in_a_script("subprocess.run([sys.executable, '-c', 'print(1)'], check=True)")

    assert (output, screen) == ("", b"1\n")


def test_any_text_comes_back_equal(ex: Experiment) -> None:
    strange = "\udc80 \x00 \x1b[31mred\x1b[0m \u2028 ü"

    def train(a):
        logger = logging.Logger("strange")  # of no family: the report of this test is UTF-8
        logger.addHandler(logging.NullHandler())
        logger.error(strange)
        print(strange)

    with contextlib.redirect_stdout(io.StringIO()):
        output = run(ex, train)

    assert [line.text for line in output] == [strange, strange]


# -- carriage returns -------------------------------------------------------------------


def test_a_progress_bar_leaves_its_last_state(memory_ex: Experiment) -> None:
    def train(a):
        print("begin")
        for done in range(0, 101, 5):
            print(f"\r{done:3}%|{'#' * (done // 10):10}|", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        print("end\r")

    assert str(run(memory_ex, train)) == "begin\n100%|##########|\nend"


def test_a_bar_that_is_wiped_leaves_nothing(memory_ex: Experiment) -> None:
    def train(a):
        for done in range(3):
            print(f"\r{done}/2", end="")
        print("\r   \r", end="")

    assert str(run(memory_ex, train)) == ""


def test_an_endless_bar_needs_no_memory(memory_ex: Experiment) -> None:
    def train(a):
        tracemalloc.start()
        for done in range(50_000):
            sys.stdout.write(f"\r{done:060d}")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    with contextlib.redirect_stdout(io.StringIO()) as screen:
        screen.write = lambda text: len(text)  # type: ignore[method-assign]
        output = run(memory_ex, train)

    assert [int(line.text) for line in output] == [49_999]
    assert memory_ex[1].result < MEBI


# -- bounds -----------------------------------------------------------------------------


def test_of_a_long_output_the_beginning_and_the_end_are_kept(memory_ex: Experiment) -> None:
    def train(a):
        tracemalloc.start()
        for number in range(120_000):
            print(f"{number:099d}")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    with contextlib.redirect_stdout(io.StringIO()) as screen:
        screen.write = lambda text: len(text)  # type: ignore[method-assign]
        lines = run(memory_ex, train).lines

    assert memory_ex[1].result < 8 * MEBI
    (omitted,) = [line for line in lines if line.stream == "omitted"]
    assert "characters left out" in omitted.text
    assert [int(line.text) for line in lines[:1000]] == list(range(1000))
    assert [int(line.text) for line in lines[-1000:]] == list(range(119_000, 120_000))
    kept = sum(len(line.text) + 1 for line in lines)
    assert 9 * MEBI / 8 * 0.9 < kept < 9 * MEBI / 8 + 1000


def test_endless_empty_lines_come_to_an_end(memory_ex: Experiment) -> None:
    def train(a):
        for _ in range(20_000):
            print()
            print(file=sys.stderr)

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert len(run(memory_ex, train)) < 25_000


def test_one_huge_text_is_shortened(memory_ex: Experiment) -> None:
    def train(a):
        sys.stdout.write("a" * (5 * MEBI) + "z\n")

    with contextlib.redirect_stdout(io.StringIO()):
        text = run(memory_ex, train).text()

    assert text.startswith("aaa") and text.endswith("az")
    assert len(text) < 1.3 * MEBI


# -- secrets ----------------------------------------------------------------------------


def test_secrets_are_masked_also_when_printed_in_parts(memory_ex: Experiment) -> None:
    secret = Secret("correct horse battery")

    def train(a):
        sys.stdout.write("with correct ho")
        sys.stdout.write("rse battery\n")
        sys.stdout.write("api_key=")
        sys.stdout.write("abcdef")
        logging.getLogger("train").warning("login %s", secret.reveal())

    assert run(memory_ex, train).text(stream="stdout") == "with ***\napi_key=***"
    assert memory_ex[1].output.text(stream="logging") == "WARNING train: login ***"


# -- logging ----------------------------------------------------------------------------


@contextlib.contextmanager
def bare_root() -> Iterator[logging.Logger]:
    """The root logger without handlers, as a plain script has it; pytest adds its own."""
    root = logging.getLogger()
    before, root.handlers[:] = root.handlers[:], []
    yield root
    root.handlers[:] = before


def test_a_record_is_output_once_whatever_its_handlers_print(memory_ex: Experiment) -> None:
    def train(a):
        logging.warning("one")
        root.addHandler(logging.StreamHandler(sys.stdout))
        logging.warning("two")

    with bare_root() as root:
        root.addHandler(logging.StreamHandler(sys.stderr))
        output = run(memory_ex, train)

    assert str(output) == "WARNING root: one\nWARNING root: two"


def test_a_record_without_a_handler_is_output_once(memory_ex: Experiment) -> None:
    def train(a):
        logging.getLogger("train").error("alone")

    with bare_root():
        output = run(memory_ex, train)

    assert str(output) == "ERROR train: alone"


def test_logging_can_be_set_up_inside_a_step(
    memory_ex: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(a):
        logging.basicConfig(format="shown: %(message)s")
        logging.warning("inside")

    with bare_root() as root:
        run(memory_ex, train)
        logging.warning("later")
        assert len(root.handlers) == 1

    assert str(memory_ex[1].output) == "WARNING root: inside"
    shown = capsys.readouterr().err.splitlines()
    assert [line for line in shown if line.startswith("shown")] == [
        "shown: inside", "shown: later",
    ]  # fmt: skip


def test_another_tool_that_listens_to_loggers_is_no_trouble(
    memory_ex: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(a):
        logging.getLogger("train").warning("once")

    def listen(logger: logging.Logger, record: logging.LogRecord) -> None:
        heard.append(record.getMessage())
        covered(logger, record)

    heard: list[str] = []
    run(memory_ex, train)
    covered = logging.Logger.callHandlers
    monkeypatch.setattr(logging.Logger, "callHandlers", listen)

    assert str(run(memory_ex, train)) == "WARNING train: once"
    assert heard == ["once"]


def test_a_record_below_the_level_is_no_output(memory_ex: Experiment) -> None:
    def train(a):
        logger = logging.getLogger("quiet")
        logger.setLevel(logging.ERROR)
        logger.warning("nobody sees it")

    assert not run(memory_ex, train)


def test_the_traceback_of_a_record_is_kept(memory_ex: Experiment) -> None:
    def train(a):
        try:
            1 / 0
        except ZeroDivisionError:
            logging.getLogger("train").exception("went wrong")

    (line,) = run(memory_ex, train)

    assert line.text.startswith("went wrong\nTraceback")
    assert line.text.endswith("ZeroDivisionError: division by zero")
    assert line.level == "ERROR"


def test_a_record_that_cannot_be_formatted_disturbs_nothing(memory_ex: Experiment) -> None:
    def train(a):
        logging.getLogger("train").warning("%d", "text")
        return 7

    with bare_root():
        (line,) = run(memory_ex, train)

    assert memory_ex[1].result == 7
    assert line.level == "WARNING" and "TypeError" in line.text


# -- others who take hold of the streams ------------------------------------------------


def test_the_streams_are_the_same_during_a_step_and_uncovered_after_it(
    memory_ex: Experiment,
) -> None:
    before = sys.stdout, sys.stderr
    attributes = dict(vars(sys.stdout)), dict(vars(sys.stderr))

    def train(a):
        return sys.stdout is before[0] and sys.stderr is before[1]

    run(memory_ex, train)

    assert memory_ex[1].result is True
    assert (sys.stdout, sys.stderr) == before
    assert (vars(sys.stdout), vars(sys.stderr)) == attributes


def test_what_a_step_redirects_is_no_output(memory_ex: Experiment) -> None:
    def train(a):
        with contextlib.redirect_stdout(io.StringIO()) as elsewhere:
            print("elsewhere")
        print("here")
        with io.StringIO() as file:
            print("in a file", file=file)
        return elsewhere.getvalue()

    assert str(run(memory_ex, train)) == "here"
    assert memory_ex[1].result == "elsewhere\n"


def test_what_is_redirected_around_a_trial_is_output_of_both(memory_ex: Experiment) -> None:
    def train(a):
        print("both")

    with contextlib.redirect_stdout(io.StringIO()) as file:
        output = run(memory_ex, train)

    assert str(output) == "both"
    assert file.getvalue() == "both\n"


def test_a_stream_that_a_step_replaces_stays_replaced(memory_ex: Experiment) -> None:
    class Tee(io.StringIO):
        def write(self, text: str) -> int:
            before.write(text)
            return super().write(text)

    before = sys.stdout
    tee = Tee()

    def train(a):
        sys.stdout = tee
        print("twice")

    try:
        output = run(memory_ex, train)
        assert sys.stdout is tee
    finally:
        sys.stdout = before

    assert str(output) == "twice"
    assert tee.getvalue() == "twice\n"


def test_a_method_that_somebody_covers_meanwhile_stays_covered(memory_ex: Experiment) -> None:
    seen: list[str] = []

    def train(a):
        covered = stream.write
        stream.write = lambda text: (seen.append(text), covered(text))[1]
        print("first")

    def second(a):
        print("second")

    with contextlib.redirect_stdout(io.StringIO()) as stream:
        assert str(run(memory_ex, train)) == "first"
        assert str(run(memory_ex, second)) == "second"

    assert "".join(seen) == stream.getvalue() == "first\nsecond\n"


@pytest.mark.parametrize("stream", [None, object(), "no stream"])
def test_a_step_runs_without_a_stream(
    memory_ex: Experiment, monkeypatch: pytest.MonkeyPatch, stream: object
) -> None:
    def train(a):
        print("kept", file=sys.stderr)
        return 7

    monkeypatch.setattr(sys, "stdout", stream)

    assert str(run(memory_ex, train)) == "kept"


def test_a_thread_that_a_step_starts_needs_a_copy_of_its_context(memory_ex: Experiment) -> None:
    def train(a):
        context = contextvars.copy_context()
        for target in (lambda: print("lost"), lambda: context.run(print, "kept")):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()

    assert str(run(memory_ex, train)) == "kept"


def test_print_outside_of_steps_is_no_output(memory_ex: Experiment) -> None:
    class Preview:
        def __repr__(self) -> str:
            print("asked for its text")
            return "preview"

    def train(a):
        print("inside")
        return a

    print("before")
    memory_ex.result(train)(dask.delayed(Preview)()).compute()
    print("after")

    assert str(memory_ex[1].output) == "inside"


# -- while a step runs ------------------------------------------------------------------


SLEEPER = """
import sys, time
from daskperiment import Experiment
ex = Experiment("example", backend="store")
@ex
def prepare():
    return 1
@ex.result
def train(a):
    print("printed once")
    ex.log_metric("loss", 0.5)
    print("\\rstate 1\\rstate 2\\rstate 3", end="", file=sys.stderr)
    time.sleep(600)
train(prepare()).compute(scheduler="synchronous")
"""


def until(found: Callable[[], Any]) -> Any:
    """What is found in the end; a minute is for ever."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.02)
    raise AssertionError("it did not come")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """Another process in the midst of a step that prints once and then takes its time."""
    with subprocess.Popen(
        [sys.executable, "-c", SLEEPER], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        yield process
        process.kill()


def test_output_and_metrics_are_seen_while_the_step_computes(
    sleeper: subprocess.Popen[bytes],
) -> None:
    until(lambda: Path("store").exists())
    ex = Experiment("example", backend="store")
    trial = until(lambda: len(ex.trials) and ex[1])

    until(lambda: trial.output.text(stream="stdout") == "printed once")
    until(lambda: [point.value for point in trial.metrics.get("loss", [])] == [0.5])
    until(lambda: list(trial.steps["step"]) == ["prepare"])
    assert trial.state == "RUNNING"


def test_a_bar_is_seen_before_its_line_ends(sleeper: subprocess.Popen[bytes]) -> None:
    until(lambda: Path("store").exists())
    ex = Experiment("example", backend="store")
    trial = until(lambda: len(ex.trials) and ex[1])

    until(lambda: trial.output.text(stream="stderr") == "state 2")


@pytest.mark.skipif(os.name == "nt", reason="kills as POSIX does")
def test_what_was_seen_survives_kill_9(sleeper: subprocess.Popen[bytes]) -> None:
    until(lambda: Path("store").exists())
    ex = Experiment("example", backend="store")
    trial = until(lambda: len(ex.trials) and ex[1])
    until(lambda: trial.output)

    sleeper.kill()
    sleeper.wait()

    assert ex[1].state == "CRASHED"
    assert ex[1].output.text(stream="stdout") == "printed once"


def test_every_line_is_seen_while_the_step_goes_on(tmp_path: Path) -> None:
    ex = Experiment("example", backend=tmp_path / "store")

    def train(a):
        for number in range(3):
            print(number)
            until(lambda: len(ex[1].output) > number)

    assert str(run(ex, train)) == "0\n1\n2"


def test_a_state_that_was_seen_goes_when_the_bar_is_wiped(tmp_path: Path) -> None:
    ex = Experiment("example", backend=tmp_path / "store")

    def train(a):
        print("\rstate 1\rstate 2", end="")
        until(lambda: str(ex[1].output) == "state 1")
        print("\r       \r", end="")

    assert not run(ex, train)


def test_a_state_that_was_seen_gives_way_to_the_next(tmp_path: Path) -> None:
    ex = Experiment("example", backend=tmp_path / "store")

    def train(a):
        print("\rstate 1\rstate 2", end="")
        until(lambda: str(ex[1].output) == "state 1")
        print("\r       \rstate 3\rend")

    assert str(run(ex, train)) == "end"


def test_a_step_does_not_suffer_from_a_store_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from daskperiment.errors import BackendError

    ex = Experiment("example", backend=tmp_path / "store")
    tries: list[int] = []
    apply = ex.backend.apply

    def refuse(*writes: Any) -> list[Any]:
        tries.append(1)
        raise BackendError("away")

    def train(a):
        monkeypatch.setattr(ex.backend, "apply", refuse)
        print("while it is away")
        until(lambda: len(tries) > 1)
        monkeypatch.setattr(ex.backend, "apply", apply)
        until(lambda: ex[1].output)
        return 7

    assert str(run(ex, train)) == "while it is away"
    assert ex[1].result == 7


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes do not fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_writes_its_own_output(tmp_path: Path) -> None:
    ex = Experiment("example", backend=tmp_path / "store")

    def train(a):
        print("parent")
        print("begun by the parent", end="")
        process = multiprocessing.get_context("fork").Process(target=print, args=("child",))
        process.start()
        process.join()
        print()

    output = run(ex, train, scheduler="synchronous")

    assert sorted(str(output).split("\n")) == ["begun by the parent", "child", "parent"]


# -- what is shown ----------------------------------------------------------------------


def test_an_output_is_text_a_sequence_and_one_line(memory_ex: Experiment) -> None:
    def train(a):
        print("<b>\x1b[1mbold\x1b[0m</b>")
        print()

    output = run(memory_ex, train)

    assert str(output) == "<b>\x1b[1mbold\x1b[0m</b>\n"
    assert len(output) == len(list(output)) == 2 and output
    assert repr(output) == "<2 lines of output>"
    assert output._repr_html_() == "<pre>&lt;b&gt;bold&lt;/b&gt;\n</pre>"
    before = memory_ex[1].started.timestamp()
    assert all(before <= line.time <= time.time() for line in output)


def test_a_trial_that_printed_nothing_has_no_output(ex: Experiment) -> None:
    def train(a):
        return a

    output = run(ex, train)

    assert not output and str(output) == "" and repr(output) == "<0 lines of output>"


def test_a_notebook_shows_the_last_lines_of_a_long_output(memory_ex: Experiment) -> None:
    def train(a):
        for number in range(1500):
            print(number)

    shown = run(memory_ex, train)._repr_html_()

    assert shown.startswith("<pre>[500 earlier lines]\n500\n")
    assert shown.endswith("\n1499</pre>")


def test_output_can_be_forgotten(ex: Experiment) -> None:
    def train(a):
        print("said too much")

    run(ex, train)
    ex[1].forget("output")

    with pytest.raises(ValueNotKeptError, match="output"):
        ex[1].output
