"""The command as a program: exit codes, pipes, colours, interrupts, completion."""

from __future__ import annotations

import json
import os
import pty
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from daskperiment import Experiment
from tests.conftest import needs_program

MODULE = [sys.executable, "-m", "daskperiment"]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def environment(**variables: str) -> dict[str, str]:
    plain = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    return {**plain, "TERM": "xterm-256color", **variables}


def command(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MODULE, *arguments], capture_output=True, text=True, check=False,
        env=environment(**variables),
    )  # fmt: skip


def on_a_terminal(*arguments: str, columns: int = 200, typed: str = "", **variables: str) -> str:
    """What a user's terminal of some width is sent."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [*MODULE, *arguments], stdin=child, stdout=child, stderr=child,
        env=environment(COLUMNS=str(columns), **variables),
    )  # fmt: skip
    os.close(child)
    os.write(parent, typed.encode())
    sent = b""
    while select.select([parent], [], [], 30)[0]:
        try:
            sent += os.read(parent, 65536)
        except OSError:  # the other end is closed
            break
    process.wait()
    os.close(parent)
    return sent.decode().replace("\r\n", "\n")


def test_the_program_and_the_module_are_the_same(example: Experiment) -> None:
    program = Path(sys.executable).with_name("daskperiment")
    installed = subprocess.run([program, "ls"], capture_output=True, text=True, check=False)

    assert installed.returncode == 0
    assert installed.stdout == command("ls").stdout
    assert command("--version").stdout == "daskperiment 1.0.0.dev0\n"


def test_help_and_version_import_nothing_slow(tmp_path: Path) -> None:
    script = """
import sys
from daskperiment.cli.main import run
for arguments in (["--help"], ["--version"], ["show", "--help"]):
    run(arguments)
slow = {"dask", "pandas", "numpy", "distributed", "git", "psutil", "sqlite3", "blake3"}
assert not slow & set(sys.modules), slow & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_verbs_that_look_import_neither_dask_nor_pandas(example: Experiment) -> None:
    script = """
import sys
from daskperiment.cli.main import run
for arguments in ("ls", "ls -e example", "show 1", "history", "history --csv", "metrics 1",
                  "metrics 1 loss", "artifacts 1", "code 1", "diff 1 2", "tag 1", "note 1"):
    assert run(arguments.split()) in (0, 1)
    slow = {"dask", "pandas", "distributed"} & set(sys.modules)
    assert not slow, (arguments, slow)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["ls"], 0), (["show", "3"], 0), (["diff", "1", "2"], 1), (["show", "9"], 2),
        (["show", "--nope"], 2), (["nope"], 2), (["show", "--backend", "nowhere"], 2),
        (["--help"], 0), (["doctor"], 0), ([], 0), (["config"], 0),
    ],
    ids=str,
)  # fmt: skip
def test_exit_codes(example: Experiment, arguments: list[str], code: int) -> None:
    done = command(*arguments)

    assert done.returncode == code
    assert bool(done.stdout) == (code < 2) and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == (code == 2)


def test_a_missing_value_exits_with_2_a_failure_with_1(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "from daskperiment import Experiment\n"
        "ex = Experiment('example')\n"
        "s = ex.result(lambda a: 10 / a, name='score')(ex.parameter('a'))\n"
    )

    codes = [command("run", "train.py", *given).returncode for given in ([], ["a=0"], ["a=4"])]

    assert codes == [2, 1, 0]


@pytest.mark.parametrize("verb", ["ls", "note 1", "note 1 --json", "history --csv"])
def test_a_reader_that_leaves_is_no_error(example: Experiment, verb: str) -> None:
    example[1].note = "much more than a pipe holds, " * 20_000
    process = subprocess.Popen(
        [*MODULE, *verb.split(), *(["--columns", "Note"] if "csv" in verb else [])],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    with process.stderr as stderr:
        said = stderr.read()

    assert (process.wait(), said) == (141, "")


def test_ctrl_c_exits_with_130_and_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "import time\n"
        "from daskperiment import Experiment\n"
        "ex = Experiment('example')\n"
        "@ex.result\n"
        "def wait():\n"
        "    print('waiting', flush=True)\n"
        "    time.sleep(60)\n"
        "s = wait()\n"
    )
    process = subprocess.Popen(
        [*MODULE, "run", "train.py"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment(DASKPERIMENT_LOG_LEVEL="CRITICAL", DASK_SCHEDULER="synchronous"),
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "Traceback" not in err
    assert json.loads(command("show", "--json").stdout)["state"] == "CANCELLED"


def test_the_output_of_a_running_trial_is_followed_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "import pathlib, time\n"
        "from daskperiment import Experiment\n"
        "ex = Experiment('example')\n"
        "@ex.result\n"
        "def wait():\n"
        "    print('first', flush=True)\n"
        "    while not pathlib.Path('go').exists():\n"
        "        time.sleep(0.01)\n"
        "    print('second')\n"
        "s = wait()\n"
    )
    trial = subprocess.Popen([*MODULE, "run", "train.py"], stdout=subprocess.PIPE, text=True)
    assert trial.stdout is not None and trial.stdout.readline() == "first\n"
    follower = subprocess.Popen(
        [*MODULE, "logs", "--follow"], stdout=subprocess.PIPE, text=True, env=environment()
    )
    assert follower.stdout is not None and follower.stdout.readline() == "first\n"
    (tmp_path / "go").touch()

    assert follower.communicate(timeout=60)[0] == "second\n"
    assert follower.returncode == 0
    trial.communicate(timeout=60)


def test_a_line_that_is_written_over_is_followed_once(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "import pathlib, time\n"
        "from daskperiment import Experiment\n"
        "ex = Experiment('example')\n"
        "@ex.result\n"
        "def wait():\n"
        "    print('20%', end='\\r', flush=True)\n"
        "    while not pathlib.Path('go').exists():\n"
        "        time.sleep(0.01)\n"
        "    print('\\nend')\n"
        "s = wait()\n"
    )
    trial = subprocess.Popen(
        [*MODULE, "run", "train.py"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not (tmp_path / "daskperiment_cache").exists() or not command("logs").stdout:
        time.sleep(0.1)
    follower = subprocess.Popen(
        [*MODULE, "logs", "--follow"], stdout=subprocess.PIPE, text=True, env=environment()
    )
    assert follower.stdout is not None and follower.stdout.readline() == "20%\n"
    (tmp_path / "go").touch()

    assert follower.communicate(timeout=60)[0] == "end\n"
    trial.communicate(timeout=60)


def test_colours_are_for_terminals_and_not_with_no_color(example: Experiment) -> None:
    assert "\x1b[32mCOMPLETE\x1b[0m" in on_a_terminal("ls", "-e", "example")
    assert "\x1b[31mError:" in on_a_terminal("show", "99")
    for verb in (["ls", "-e", "example"], ["show"], ["show", "99"], ["diff", "1", "2"]):
        assert "\x1b" not in on_a_terminal(*verb, NO_COLOR="1"), verb
        done = command(*verb)
        assert "\x1b" not in done.stdout + done.stderr, verb


def test_a_terminal_asks_before_it_deletes_for_ever(example: Experiment) -> None:
    example[1].remove()

    refused = on_a_terminal("gc", typed="n\n")
    assert "Delete 1 trial and " in refused and "for ever? [y/N]" in refused
    assert "Nothing was deleted" in refused
    assert example.removed == [1]
    assert "Deleted 1 trial " in on_a_terminal("gc", typed="y\n")
    asked = on_a_terminal("forget", "2", "result", typed="\n")
    assert "Delete result of trial 2 of example for ever? [y/N]" in asked
    assert example[2].result == 5.0

    assert "?" not in on_a_terminal("forget", "2", "result", "--yes")
    assert "?" not in on_a_terminal("gc", "--dry-run")
    assert command("forget", "3", "error").returncode == 0


def test_a_closed_stream_is_no_error(example: Experiment) -> None:
    for closed in (">&-", "2>&-", "<&-"):
        words = [*MODULE, "ls"]
        assert (
            subprocess.run(f"{shlex.join(words)} {closed}", shell=True, check=False).returncode == 0
        )


@pytest.mark.parametrize("columns", [40, 80])
def test_tables_fit_the_terminal_and_are_complete_elsewhere(
    example: Experiment, columns: int
) -> None:
    note = "a long note about this trial, " * 5 + "its end"
    example[2].note = note

    shown = on_a_terminal("ls", "-e", "example", columns=columns, NO_COLOR="1")

    assert "…" in shown
    room = max(columns, 8 * 7 + 2 * 6)  # columns are never narrower than eight characters
    assert max(map(len, shown.splitlines())) <= room
    assert note in command("ls", "-e", "example").stdout


def test_text_that_a_stream_cannot_encode_is_shown_escaped(example: Experiment) -> None:
    example[1].note = "größer \U0001f600"

    done = subprocess.run(
        [*MODULE, "note", "1"], capture_output=True, check=True,
        env=environment(PYTHONIOENCODING="latin-1"),
    )  # fmt: skip

    assert done.stdout.decode("latin-1") == "größer \\U0001f600\n"


# -- completion ---------------------------------------------------------------------------------


def completed(*words: str) -> list[str]:
    done = command(
        _DASKPERIMENT_COMPLETE="bash_complete",
        COMP_WORDS=" ".join(["daskperiment", *words]),
        COMP_CWORD=str(len(words)),
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.split()]


def test_verbs_experiments_and_references_are_completed(example: Experiment) -> None:
    assert completed("h") == ["history"]
    assert completed("show", "-e", "ex") == ["example"]
    assert completed("show", "l") == ["latest"]
    assert completed("show", "") == ["latest", "best", "3", "2", "1"]
    assert completed("show", "--backend", "nowhere", "") == ["latest", "best"]
    assert completed("show", "--backend", "nope://", "-e", "") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_is_accepted_by_its_shell(shell: str) -> None:
    script = command("completion", shell).stdout

    assert "_DASKPERIMENT_COMPLETE" in script
    if shutil.which(shell):
        checked = subprocess.run(
            [shell, "-n"], input=script, capture_output=True, text=True, check=False
        )
        assert (checked.returncode, checked.stderr) == (0, "")


def test_bash_completes_with_the_script(example: Experiment) -> None:
    needs_program("bash")
    folder = Path(sys.executable).parent
    script = f"""
export PATH={folder}:$PATH
eval "$(daskperiment completion bash)"
COMP_WORDS=(daskperiment sho); COMP_CWORD=1
_daskperiment_completion daskperiment
echo "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("show\n", "")
