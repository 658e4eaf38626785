"""What is recorded of the git repository, with real repositories."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daskperiment import Experiment
from daskperiment.history.snapshots import with_texts
from daskperiment.secrets import Secret
from daskperiment.tracking import git
from tests.conftest import needs_program

LIMIT = 1_000_000


@pytest.fixture(autouse=True)
def _needs_git() -> None:
    needs_program("git")


def run(folder: Path, *arguments: str) -> str:
    """What git itself says, as a user would ask it."""
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    command = ["git", *identity, "-c", "protocol.file.allow=always", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A repository without a commit."""
    folder = tmp_path / "project"
    folder.mkdir()
    run(folder, "init", "--quiet", "--initial-branch=main")
    return folder


@pytest.fixture
def project(empty: Path) -> Path:
    """A repository with one commit."""
    (empty / "model.py").write_text("rate = 1\n")
    commit(empty)
    return empty


def commit(folder: Path) -> None:
    run(folder, "add", "--all")
    run(folder, "commit", "--quiet", "--message=work")


def look(folder: Path, limit: int = LIMIT) -> dict[str, Any]:
    """A look, with its texts in place of their digests, checked to be JSON."""
    found = git.look(folder, limit)
    assert json.loads(json.dumps(found.document)) == found.document
    return with_texts(found.document and {"git": found.document}, found.texts.__getitem__)["git"]


def here(folder: Path, **options: Any) -> git.Repository:
    return git.Repository([folder], LIMIT, **options)


# -- what is seen --


def test_a_clean_repository_is_told_by_branch_and_commit(project: Path) -> None:
    assert look(project) == {
        "repository": str(project),
        "branch": "main",
        "commit": run(project, "rev-parse", "HEAD").strip(),
        "dirty": False,
        "remote": None,
        "changed": [],
        "diff": None,
        "untracked": {},
        "left_out": {},
    }


def test_uncommitted_changes_can_be_applied_again(project: Path, tmp_path: Path) -> None:
    run(project, "clone", "--quiet", str(project), str(tmp_path / "copy"))
    (project / "model.py").write_text("rate = 2\n")
    (project / "new.py").write_text("x = 1\n")
    run(project, "add", "new.py")

    seen = look(project)
    (tmp_path / "patch").write_text(seen["diff"])
    run(tmp_path / "copy", "apply", str(tmp_path / "patch"))

    assert (seen["dirty"], seen["changed"]) == (True, ["model.py", "new.py"])
    assert (tmp_path / "copy" / "model.py").read_text() == "rate = 2\n"
    assert (tmp_path / "copy" / "new.py").read_text() == "x = 1\n"


def test_untracked_text_is_kept_and_does_not_make_it_dirty(project: Path) -> None:
    (project / "deep" / "er").mkdir(parents=True)
    (project / "deep" / "er" / "draft.py").write_text("y = 'é'\n", encoding="utf-8")
    (project / "ignored.py").write_text("z = 1\n")
    (project / ".gitignore").write_text("ignored.py\n")

    seen = look(project)

    assert not seen["dirty"]
    assert seen["untracked"] == {".gitignore": "ignored.py\n", "deep/er/draft.py": "y = 'é'\n"}


def test_binary_and_large_files_are_named_with_their_size(project: Path) -> None:
    (project / "image.bin").write_bytes(b"\0\1\2")
    (project / "large.csv").write_text("1\n" * 500)
    (project / "small.py").write_text("a\n")
    (project / "model.py").write_text("b\n" * 500)
    (project / "link").symlink_to("small.py")

    seen = look(project, limit=600)

    assert seen["untracked"] == {"small.py": "a\n"}
    assert seen["diff"] is None
    assert seen["left_out"] == {
        "image.bin": "binary, 3 bytes",
        "large.csv": "too large, 1000 bytes",
        "link": "not a file",
        "model.py": "too large, 1000 bytes",
    }
    assert seen["changed"] == ["model.py"]


def test_a_long_diff_keeps_its_first_files_whole(project: Path) -> None:
    for name in "abc":
        (project / f"{name}.py").write_text("old\n" * 40)
    commit(project)
    for name in "abc":
        (project / f"{name}.py").write_text("new\n" * 40)

    seen = look(project, limit=1100)

    assert seen["diff"].count("diff --git") == 2
    assert seen["diff"].endswith("+new\n")
    assert "1100 bytes" in seen["left_out"]["diff"]
    assert seen["changed"] == ["a.py", "b.py", "c.py"]


def test_a_limit_of_0_keeps_no_text_at_all(project: Path) -> None:
    (project / "model.py").write_text("rate = 2\n")
    (project / "draft.py").write_text("x = 1\n")

    found = git.look(project, 0)

    assert found.texts == {}
    assert found.document["dirty"]
    assert set(found.document["left_out"]) == {"diff", "draft.py"}


def test_no_secret_is_kept(project: Path) -> None:
    secret = Secret("canary-in-a-secret")
    url = "https://canary-user:canary-word@example.org/a/b.git?token=canary-query"
    run(project, "remote", "add", "origin", url)
    (project / "model.py").write_text(f"password = 'canary-password'\nx = {secret.reveal()!r}\n")
    (project / "draft.py").write_text("db = 'redis://me:canary-login@host/0'\n")
    for name in (".env", ".env.local", "credentials.json", "server.key", "id_rsa"):
        (project / name).write_text("canary-file\n")

    found = git.look(project, LIMIT)

    assert "canary" not in json.dumps(found)
    assert found.document["remote"] == "https://example.org/a/b.git"
    assert found.document["left_out"][".env"] == "may hold a secret, 12 bytes"


# -- repositories of every kind --


def test_a_repository_without_a_commit_shows_what_was_added(empty: Path) -> None:
    (empty / "model.py").write_text("rate = 1\n")
    run(empty, "add", "model.py")
    (empty / "model.py").write_text("rate = 2\n")

    seen = look(empty)

    assert (seen["branch"], seen["commit"], seen["dirty"]) == ("main", None, True)
    assert "+rate = 2" in seen["diff"]


def test_a_detached_head_has_no_branch(project: Path) -> None:
    run(project, "checkout", "--quiet", "--detach")

    assert look(project)["branch"] is None


def test_names_in_any_script_are_recorded(project: Path) -> None:
    (project / "naïve\nname.py").write_text("1\n")
    commit(project)
    (project / "naïve\nname.py").write_text("2\n")
    (project / "日本 語.py").write_text("3\n")

    seen = look(project)

    assert seen["changed"] == ["naïve\nname.py"]
    assert seen["untracked"] == {"日本 語.py": "3\n"}
    assert "+2" in seen["diff"]


def test_a_renamed_file_is_one_change(project: Path) -> None:
    run(project, "mv", "model.py", "net.py")

    assert look(project)["changed"] == ["net.py"]


def test_a_conflict_is_recorded(project: Path) -> None:
    run(project, "checkout", "--quiet", "-b", "other")
    (project / "model.py").write_text("rate = 2\n")
    commit(project)
    run(project, "checkout", "--quiet", "main")
    (project / "model.py").write_text("rate = 3\n")
    commit(project)
    with pytest.raises(subprocess.CalledProcessError):
        run(project, "merge", "other")

    seen = look(project)

    assert (seen["changed"], seen["dirty"]) == (["model.py"], True)
    assert "rate = 2" in seen["diff"]


def test_a_submodule_is_a_repository_of_its_own(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project, tmp_path / "library")
    run(project, "submodule", "--quiet", "add", str(tmp_path / "library"), "lib")
    commit(project)
    (project / "lib" / "model.py").write_text("rate = 9\n")

    assert here(project / "lib").look().document["repository"] == str(project / "lib")
    seen = look(project)
    assert (seen["changed"], seen["dirty"]) == (["lib"], True)
    assert "Subproject commit" in seen["diff"]


def test_a_worktree_is_told_from_its_main_one(project: Path, tmp_path: Path) -> None:
    run(project, "worktree", "add", "--quiet", "-b", "side", str(tmp_path / "side"))
    repository = here(tmp_path / "side")

    before = repository.look()
    (tmp_path / "side" / "model.py").write_text("rate = 2\n")
    commit(tmp_path / "side")

    assert (before.document["branch"], before.document["repository"]) == (
        "side",
        str(tmp_path / "side"),
    )
    assert repository.look().document["commit"] != before.document["commit"]


def test_a_bare_repository_says_so(project: Path, tmp_path: Path) -> None:
    run(project, "clone", "--quiet", "--bare", str(project), str(tmp_path / "bare.git"))

    seen = here(tmp_path / "bare.git").look().document

    assert seen["repository"] == str(tmp_path / "bare.git")
    assert "work tree" in seen["error"]


def test_outside_of_a_repository_there_is_none(tmp_path: Path) -> None:
    assert here(tmp_path).look().document == {"repository": None}


def test_a_broken_repository_does_not_show_the_one_around_it(project: Path) -> None:
    (project / "inner" / ".git").mkdir(parents=True)

    seen = here(project / "inner").look().document

    assert seen["repository"] == str(project / "inner")
    assert "not a git repository" in seen["error"]


def test_without_the_program_the_repository_is_still_named(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))

    assert look(project) == {"repository": str(project), "error": "there is no git program"}


def test_a_repository_of_somebody_else_gives_gits_refusal(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")

    assert "dubious ownership" in look(project)["error"]


def test_a_git_that_does_not_answer_is_given_up(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setattr(git, "_TIMEOUT", 0.2)

    assert look(project)["error"] == "git status took more than 0.2 seconds"


def test_variables_of_a_hook_do_not_mislead(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = look(project)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))

    assert look(project) == expected


def test_looking_changes_nothing_and_runs_nothing_of_the_users(
    project: Path, tmp_path: Path
) -> None:
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\ncat\n")
    trap.chmod(0o755)
    for name in ("core.fsmonitor", "diff.external", "core.pager", "diff.py.textconv"):
        run(project, "config", name, str(trap))
    (project / ".gitattributes").write_text("*.py diff=py\n")
    commit(project)
    (tmp_path / "sprung").unlink(missing_ok=True)
    (project / "model.py").write_text("rate = 2\n")
    os.utime(project / ".gitattributes")  # git would like to write down that it is unchanged

    before = files(project / ".git")
    seen = look(project)

    assert "+rate = 2" in seen["diff"]
    assert not (tmp_path / "sprung").exists()
    assert files(project / ".git") == before


def files(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}


# -- when it is looked at again --


class Clock:
    """Seconds that pass when a test says so, and a little while git runs."""

    def __init__(self, look: float = 0.0) -> None:
        self.now = 0.0
        self.duration = look

    def __call__(self) -> float:
        self.now += self.duration
        return self.now


def test_what_did_not_change_is_the_same_look(project: Path) -> None:
    repository = here(project)

    assert repository.look() is repository.look()


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: run(folder, "checkout", "--quiet", "-b", "other"),
        lambda folder: run(folder, "add", "draft.py"),
        lambda folder: run(folder, "commit", "--quiet", "--allow-empty", "--message=more"),
        lambda folder: run(folder, "reset", "--quiet", "--soft", "HEAD~1"),
    ],
    ids=["checkout", "add", "commit", "reset"],
)
def test_what_git_does_is_seen_at_once(project: Path, change: Callable[[Path], object]) -> None:
    run(project, "commit", "--quiet", "--allow-empty", "--message=second")
    (project / "draft.py").write_text("x = 1\n")
    repository = here(project, clock=Clock())
    before = repository.look()

    change(project)

    assert repository.look().document != before.document


def test_an_edited_file_is_seen_after_a_second(project: Path) -> None:
    clock = Clock()
    repository = here(project, clock=clock)
    before = repository.look()
    (project / "model.py").write_text("rate = 2\n")

    clock.now = 0.9
    assert repository.look() is before
    clock.now = 1.1
    assert repository.look().document["dirty"]


def test_an_edited_file_is_seen_at_once_when_the_code_that_runs_changed(project: Path) -> None:
    repository = here(project, clock=Clock())
    repository.look("v1:before")
    (project / "model.py").write_text("rate = 2\n")

    assert repository.look("v1:after").document["dirty"]


def test_where_a_look_takes_long_the_next_one_waits(project: Path) -> None:
    clock = Clock()
    repository = here(project, clock=clock)
    clock.duration = 1.0  # from the start of a look to its end
    before = repository.look()
    (project / "model.py").write_text("rate = 2\n")
    clock.duration = 0.0

    clock.now += 90
    assert repository.look() is before
    clock.now += 15
    assert repository.look().document["dirty"]


def test_a_log_that_grows_is_not_kept_again_every_second(project: Path) -> None:
    clock = Clock()
    repository = here(project, clock=clock)
    (project / "train.log").write_text("line\n" * 100_000)
    before = repository.look()
    (project / "train.log").write_text("line\n" * 100_001)

    clock.now += 20
    assert repository.look() is before
    clock.now += 10
    assert repository.look() is not before


def test_a_repository_that_is_made_later_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    clock = Clock()
    repository = here(folder, clock=clock)
    assert repository.look().document == {"repository": None}

    run(tmp_path, "init", "--quiet")
    clock.now += 2
    assert repository.look().document["repository"] == str(tmp_path)


def test_a_repository_that_is_made_in_the_folder_is_seen_at_once(tmp_path: Path) -> None:
    repository = here(tmp_path, clock=Clock())
    assert repository.look().document == {"repository": None}

    run(tmp_path, "init", "--quiet")

    assert repository.look().document["repository"] == str(tmp_path)


# -- which repository, and what a trial keeps --


def test_the_script_decides_and_then_the_working_directory(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    run(other, "init", "--quiet")

    def root(script: str | None) -> Any:
        return git.repository(script, str(other), LIMIT).look().document["repository"]

    assert root(str(project / "model.py")) == str(project)
    assert root(str(tmp_path / "loose.py")) == str(other)
    assert root(None) == str(other)
    monkeypatch.setattr("sys.prefix", str(project / "venv"))
    assert root(str(project / "venv" / "bin" / "pytest")) == str(other)


@pytest.fixture
def inside(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory is a repository."""
    monkeypatch.chdir(project)
    return project


def compute(ex: Experiment) -> dict[str, Any]:
    ex.result(lambda: 1, name="one")().compute()
    return ex.latest.environment


def test_a_trial_keeps_what_was_not_committed(inside: Path, ex: Experiment) -> None:
    (inside / "model.py").write_text("rate = 2\n")
    (inside / "draft.py").write_text("x = 1\n")

    seen = compute(ex)["git"]

    assert (seen["branch"], seen["dirty"]) == ("main", True)
    assert "+rate = 2" in seen["diff"]
    assert seen["untracked"] == {"draft.py": "x = 1\n"}
    assert "+rate = 2" in ex.get_environment(1, "git")
    assert f"Git HEAD Commit: {seen['commit']} (DIRTY)" in ex.get_environment(1)


def test_a_commit_between_two_trials_of_a_session_is_recorded(
    inside: Path, memory_ex: Experiment
) -> None:
    before = compute(memory_ex)["git"]["commit"]
    run(inside, "commit", "--quiet", "--allow-empty", "--message=more")

    assert compute(memory_ex)["git"]["commit"] != before
    assert memory_ex[1].environment["git"]["commit"] == before
    assert memory_ex[1]._known["environment"] == memory_ex[2]._known["environment"]


def test_git_is_left_alone_when_it_is_switched_off(
    inside: Path, memory_ex: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASKPERIMENT_DISABLE_GIT", "1")
    monkeypatch.setattr(subprocess, "Popen", None)

    assert compute(memory_ex)["git"] is None
    assert "Git Repository: not looked at" in memory_ex.get_environment(1)


@pytest.mark.parametrize(
    ("variable", "value"), [("DASKPERIMENT_DISABLE_CODE", "1"), ("DASKPERIMENT_GIT_LIMIT", "0")]
)
def test_uncommitted_text_is_left_out_on_request(
    inside: Path, memory_ex: Experiment, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    word = "-".join(["uncommitted", "word"])  # this file may be kept as the code of the step
    (inside / "model.py").write_text(word)
    (inside / "draft.py").write_text(word)

    seen = compute(memory_ex)["git"]

    assert seen["dirty"]
    assert (seen["diff"], seen["untracked"]) == (None, {})
    texts = [memory_ex.backend.fetch(digest) for digest, _ in memory_ex.backend.blobs()]
    assert not any(word.encode() in text for text in texts)


def test_a_store_inside_the_repository_is_no_change_of_it(inside: Path) -> None:
    before = git.look(inside, LIMIT)
    Experiment("example").result(lambda: 1, name="one")().compute()

    assert Path("daskperiment_cache").is_dir()
    assert git.look(inside, LIMIT) == before
