"""Secrets reach the steps and nothing else."""

from __future__ import annotations

import json
import logging
import os
import pickle
import random
import string
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import cloudpickle
import pytest

import daskperiment
from daskperiment import Experiment, ParameterError, Secret, SecretError, ValueNotKeptError
from daskperiment.backends import open_backend
from daskperiment.fingerprint.values import digest
from daskperiment.history.steps import Steps
from daskperiment.secrets import (
    marks_secret,
    scrub,
    scrub_arguments,
    scrub_url,
)
from daskperiment.serializers import preview
from tests.conftest import needs_program
from tests.stores import cells

TOKEN = "ghp_" + "a1B2c3D4e5F6" * 3


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A configuration directory of this test's own, on every system."""
    place = tmp_path / "configuration"
    monkeypatch.setenv("APPDATA" if os.name == "nt" else "XDG_CONFIG_HOME", str(place))
    yield place


# -- the value --------------------------------------------------------------------------


def test_a_secret_shows_nothing_of_its_value() -> None:
    secret = Secret("hunter2")
    shown = (repr(secret), str(secret), f"{secret}", f"{secret:>20}", repr([secret]))
    assert not any("hunter2" in text for text in shown)
    assert repr(secret) == "Secret(***)"
    assert preview({"a": [secret]}) == "{'a': [Secret(***)]}"


def test_no_half_of_a_secret_is_shown_where_text_is_cut() -> None:
    secret = Secret("hunter2" * 5)
    for before in range(60, 110):
        text = "." * before + secret.reveal() + "." * 300
        assert "hunter" not in preview(text)
        assert "hunter" not in preview([text])


def test_secrets_are_equal_by_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE", "hunter2")
    assert Secret("hunter2") == Secret("hunter2") == Secret.from_env("SERVICE")
    assert len({Secret("hunter2"), Secret.from_env("SERVICE")}) == 1
    assert Secret("hunter2") != Secret("hunter3")
    assert Secret("hunter2") != "hunter2"


@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps])
def test_a_secret_cannot_be_pickled(dumps: Any) -> None:
    with pytest.raises(SecretError, match=r'Secret\.from_env\("NAME"\)'):
        dumps({"deep": [Secret("hunter2")]})


def test_a_secret_of_the_environment_travels_as_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE", "hunter2")
    sent = pickle.dumps(Secret.from_env("SERVICE"))
    assert b"hunter2" not in sent
    monkeypatch.setenv("SERVICE", "of the worker")
    assert pickle.loads(sent).reveal() == "of the worker"
    monkeypatch.delenv("SERVICE")
    with pytest.raises(SecretError, match="SERVICE"):
        pickle.loads(sent).reveal()


# -- names and text ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "passwd",
        "secret",
        "client_secret",
        "api_key",
        "apikey",
        "access_key",
        "private_key",
        "auth_token",
        "token",
        "hf_token",
        "credentials",
        "db.password",
        "apiKey",
        "API-KEY",
        "AWS_SECRET_ACCESS_KEY",
        "PGPASSWORD",
        "password2",
        "accessToken",
        "api_keys",
        "db_pass",
        "pass",
        "cookie",
        "auth",
        "clientsecret",
    ],
)
def test_a_name_may_mark_a_secret(name: str) -> None:
    assert marks_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        "max_tokens",
        "n_tokens",
        "tokenizer",
        "password_length",
        "key",
        "keys",
        "secretary",
        "passes",
        "monkey",
        "pad_token",
        "a",
        "tokens_per_second",
        "n_token",
        "forward_pass",
        "author",
    ],
)
def test_a_name_that_looks_like_one_marks_none(name: str) -> None:
    assert not marks_secret(name)


def _letters(count: int, seed: object = 0) -> str:
    return "".join(random.Random(str(seed)).choices(string.ascii_letters + string.digits, k=count))


SHAPES = {
    "AWS": "AKIA" + "ABCD1234" * 2,
    "GitHub": "ghp_" + _letters(36),
    "GitHub OAuth": "gho_" + _letters(36),
    "GitHub fine-grained": "github_pat_" + _letters(22) + "_" + _letters(59),
    "GitLab": "glpat-" + _letters(20),
    "Slack": "xoxb-123456789012-" + _letters(24),
    "OpenAI": "sk-proj-" + _letters(48),
    "Anthropic": "sk-ant-api03-" + _letters(95),
    "HuggingFace": "hf_" + _letters(34),
    "Google": "AIza" + _letters(35),
    "PyPI": "pypi-AgEIcHlwaS5vcmc" + _letters(60),
    "npm": "npm_" + _letters(36),
    "JWT": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0." + _letters(43),
    "PEM": f"-----BEGIN RSA PRIVATE KEY-----\n{_letters(64)}\n-----END RSA PRIVATE KEY-----",
}


@pytest.mark.parametrize("token", SHAPES.values(), ids=SHAPES)
def test_tokens_are_masked_by_their_shape(token: str, memory_ex: Experiment) -> None:
    assert scrub(f"before {token} after") == "before *** after"
    value = memory_ex.parameter("remark", default=token)
    assert record(memory_ex, value) == token
    with pytest.raises(ValueNotKeptError, match="secret"):
        memory_ex[1].parameters["remark"]


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("redis://user:p/a@ss@host:6379/0", "redis://***@host:6379/0"),
        ("GET https://tok3n@host/path", "GET https://***@host/path"),
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ("{'Authorization': 'Basic dXNlcg=='}", "{'Authorization': '***'}"),
        ("api_key=abc n=3", "api_key=*** n=3"),
        ('{"apiKey": "a b c", "n": 3}', '{"apiKey": "***", "n": 3}'),
        ("run --db-password abc --n 3", "run --db-password *** --n 3"),
        ("https://host/?access_token=abc&n=3", "https://host/?access_token=***&n=3"),
        ("Login(user='me', password='it is')", "Login(user='me', password='***')"),
        ("os.environ['API_KEY'] = 'abc'", "os.environ['API_KEY'] = '***'"),
        ('if password == "abc":', 'if password == "***":'),
        ("password = '''abc\ndef'''", "password = '***'"),
        ("Set-Cookie: a=abc; b=def", "Set-Cookie: ***"),
        ('{"token": ["abc"], "n": 3}', '{"token": ***, "n": 3}'),
        ('{"credentials": {"name": "abc"}}', '{"credentials": ***}'),
        ("db:\n  secret: >\n    abc\n    def\n  n: 3", "db:\n  secret: >\n    ***\n  n: 3"),
        ("api_keys:\n- abc\n- def\nn: 3", "api_keys:\n  ***\nn: 3"),
    ],
)
def test_text_loses_what_marks_a_secret(text: str, masked: str) -> None:
    assert scrub(text) == masked
    assert scrub(masked) == masked


@pytest.mark.parametrize(
    "text",
    [
        "v1:0f3a9c2b7d6e5f4a3b2c1d0e9f8a7b6c",
        "e" * 64,
        "123e4567-e89b-12d3-a456-426614174000",
        "/home/user/keys/token.py:12",
        "numpy==2.1.3 scikit-learn==1.7",
        "max_tokens=100 token=3 n_tokens: 5",
        "epoch 3: loss=0.25",
        "https://example.org/a?page=2#token",
        "http://host:8080/@scope/package",
        "sk-learn-like-names-with-many-words-in-them",
        "def login(token: str, password: str = None):",
        "git@github.com:owner/name.git",
        "pass: 12, fail: 3, token: [1, 2, 3]",
        "credentials:\nname: me",
        "class Secret:\n    name: str",
    ],
)
def test_harmless_text_stays(text: str) -> None:
    assert scrub(text) == text


HOSTILE = {
    "tokens": "sk-" * 100_000,
    "addresses": "://a:" * 60_000,
    "logins": "://u:" * 60_000 + "@host",
    "names": "password=" * 30_000,
    "blocks": "password:\n" * 30_000,
    "an empty block": "password:" + "\n" * 300_000,
    "lists": "password=['" * 30_000,
    "quotes": "password='''\"" * 30_000,
    "ends within a block": "password:\n  a",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_scrubbing_hostile_text_ends(
    text: str,
) -> None:
    limit = 60  # seconds; a loop without an end, or quadratic work, takes longer
    code = "import sys; from daskperiment.secrets import scrub; scrub(sys.stdin.read())"
    subprocess.run([sys.executable, "-c", code], input=text, text=True, check=True, timeout=limit)


def test_all_that_marks_a_secret_passes_the_quick_look() -> None:
    from daskperiment.secrets import names, shapes

    words = [*names._WORDS, *names._ENDINGS, *(f"{word}_key" for word in names._KEYS), "pass"]
    assert [word for word in words if not shapes.may_hold(word)] == []


def test_lines_and_bytes_of_living_secrets_are_masked() -> None:
    secret = Secret("first of its lines\n  second of its lines"), Secret(b"\xffhunter\xfe")
    assert scrub("> second of its lines") == "> ***"
    assert scrub(f"{secret[1].reveal()!r} {secret[1].reveal().hex()}") == "b'***' ***"


def test_text_of_living_secrets_is_masked() -> None:
    secret = Secret('it\'s "quoted" & long')
    text = secret.reveal()
    for form in (text, repr(text), json.dumps(text), "it%27s%20%22quoted%22%20%26%20long"):
        assert "long" not in scrub(f"value {form} end")
    short = Secret("abc")
    assert scrub("abc") == "abc"
    del secret, short
    assert scrub(text) == text


def test_addresses_and_arguments_are_freed_of_secrets() -> None:
    assert scrub_url("https://u:p@host/a.git?key=1") == "https://host/a.git"
    assert scrub_url("https://u:p/w@host/a.git") == "https://host/a.git"
    assert scrub_url("git@host:a/b.git") == "host:a/b.git"
    assert scrub_url("http://host:80/@scope/a") == "http://host:80/@scope/a"
    arguments = ["train.py", "--token", "abc", "password=a b", "--n-tokens", "5", f"x={TOKEN}"]
    assert scrub_arguments(arguments) == [
        "train.py", "--token", "***", "password=***", "--n-tokens", "5", "x=***",
    ]  # fmt: skip


# -- parameters and steps ---------------------------------------------------------------


def record(ex: Experiment, value: Any, **options: Any) -> Any:
    """What a step got for a parameter, in a trial of a graph around it."""
    seen: list[Any] = []

    @ex
    def take(given: Any) -> int:
        seen.append(given)
        return 1

    @ex.result
    def score(taken: int) -> int:
        return taken + 1

    score(take(value)).compute(**options)
    return seen[-1]


def everything(ex: Experiment) -> str:
    """All that the history shows of the experiment's trials."""
    rows = [ex._trials.get(number) for number in range(1, ex.trial_id + 1)]
    steps = [r.document() for row in rows for r in Steps(ex.backend, ex.id).read(row["uid"])]
    return "\n".join([json.dumps(rows), json.dumps(steps), ex.get_history().to_string()])


@dataclass
class Login:
    user: str
    password: str
    other: Any = None


class Pair(NamedTuple):
    user: str
    password: str


HIDDEN = {
    "Secret": ("a", Secret("hunter2!")),
    "name": ("api_key", "hunter2!"),
    "name of bytes": ("api_key", b"hunter2!"),
    "shape": ("a", TOKEN),
    "key inside": ("a", {"host": "local", "db": {"password": "hunter2!"}}),
    "list under a key": ("a", {"tokens": 3, "credentials": ["hunter2!", 1]}),
    "shape inside": ("a", [1, (TOKEN, 2)]),
    "Secret inside": ("a", {"x": [Secret("hunter2!")]}),
    "connection": ("a", "host=local user=me password=hunter2!"),
    "query": ("a", "https://host/?token=hunter2!"),
    "list of keys": ("a", {"api_keys": ["hunter2!"]}),
    "header": ("a", {"Authorization": "Basic aHVudGVyMg=="}),
    "field": ("a", Login("me", "hunter2!")),
    "field of a field": ("a", Login("me", "", Login("you", "hunter2!"))),
    "namedtuple": ("a", Pair("me", "hunter2!")),
    "attribute": ("a", SimpleNamespace(user="me", password="hunter2!")),
    "proxy": ("a", MappingProxyType({"password": "hunter2!"})),
    "object": ("credentials", SimpleNamespace(text="hunter2!")),
}


@pytest.mark.parametrize(("name", "value"), HIDDEN.values(), ids=HIDDEN)
@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_a_step_gets_the_secret_and_the_history_does_not(
    backend: Any, name: str, value: Any, scheduler: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="daskperiment")
    ex = Experiment("secret", backend=backend)
    parameter = ex.parameter(name)
    ex.set_parameters(**{name: value})
    assert record(ex, parameter, scheduler=scheduler) == value
    for text in (everything(ex), caplog.text, repr(parameter), parameter.summarize()):
        assert "hunter2!" not in text
        assert "aHVudGVyMi" not in text  # base64
        assert TOKEN not in text
    assert "***" in ex.get_history()[name].map(repr)[1]
    with pytest.raises(ValueNotKeptError, match="secret"):
        ex[1].parameters[name]


@pytest.mark.parametrize("value", [3, 0.5, True, None])
def test_a_number_under_a_secret_name_is_recorded(memory_ex: Experiment, value: Any) -> None:
    record(memory_ex, memory_ex.parameter("token", default=value))
    assert memory_ex[1].parameters["token"] == value


def test_a_number_that_is_a_password_is_hidden(memory_ex: Experiment) -> None:
    record(memory_ex, memory_ex.parameter("password", default=90817263))
    record(memory_ex, memory_ex.parameter("login", default={"password": 90817263}))
    assert "90817263" not in everything(memory_ex)


def test_a_declaration_decides_what_is_secret(memory_ex: Experiment) -> None:
    word = memory_ex.parameter("token", default="the", secret=False)
    pin = memory_ex.parameter("pin", default=123456, secret=True)
    assert record(memory_ex, word) == "the"
    assert memory_ex[1].parameters["token"] == "the"
    assert "'the'" in everything(memory_ex)
    assert record(memory_ex, pin) == 123456
    assert "123456" not in everything(memory_ex)
    assert "***" in repr(pin)


def test_values_made_from_a_secret_are_hidden_in_step_records(memory_ex: Experiment) -> None:
    key = memory_ex.parameter("api_key", default="xyz")
    assert record(memory_ex, key + "-suffix") == "xyz-suffix"
    assert "xyz" not in everything(memory_ex)


def test_an_argument_may_be_marked_by_its_name(memory_ex: Experiment) -> None:
    @memory_ex.result
    def login(password: str) -> int:
        return len(password)

    assert login("xyz").compute() == 3
    assert "xyz" not in everything(memory_ex)


@pytest.mark.parametrize(
    "refused",
    [
        lambda ex: ex.parameter("api_key", default="hunter2!", type=int),
        lambda ex: ex.parameter("api_key", default="hunter2!", choices=["other-word"]),
        lambda ex: ex.parameter("a", default=TOKEN, type=float),
    ],
)
def test_messages_about_wrong_values_hide_secrets(memory_ex: Experiment, refused: Any) -> None:
    with pytest.raises(ParameterError) as caught:
        refused(memory_ex)
    assert caught.value.__cause__ is None
    for word in ("hunter2!", "other-word", TOKEN):
        assert word not in str(caught.value)


def test_failures_are_recorded_without_secrets(memory_ex: Experiment) -> None:
    key = memory_ex.parameter("api_key", default="hunter2!")

    @memory_ex.result
    def fail(key: str) -> None:
        raise ValueError(f"refused {key} at redis://:pa55word@host/0")

    with pytest.raises(ValueError, match="hunter2!"):
        fail(key).compute()
    trial = memory_ex[1]
    assert trial.description == "ValueError(refused *** at redis://***@host/0)"
    assert trial.traceback is not None
    assert "hunter2!" not in trial.traceback
    assert "pa55word" not in trial.traceback


def test_what_a_step_returns_is_not_kept_when_it_holds_a_secret(backend: Any) -> None:
    ex = Experiment("secret", backend=backend)
    key = ex.parameter("api_key", default="hunter2!")

    @ex.persist
    def header(key: str) -> dict[str, Any]:
        return {"X": f"Key {key}", "sealed": Secret("other-word")}

    @ex.result
    def give(header: dict[str, Any]) -> list[str]:
        return [header["X"]]

    assert give(header(key)).compute() == ["Key hunter2!"]
    with pytest.raises(ValueNotKeptError, match="secret"):
        _ = ex[1].result
    with pytest.raises(ValueNotKeptError, match="[Ss]ecret"):
        ex[1].persisted("header")
    assert "hunter2!" not in everything(ex)


def test_a_purity_warning_hides_secrets(memory_ex: Experiment) -> None:
    outputs = iter([1, 2])

    @memory_ex.result
    def draw(key: str) -> int:
        return next(outputs)

    node = draw(memory_ex.parameter("api_key", default="hunter2!"))
    node.compute(seed=1)
    with pytest.warns(daskperiment.PurityWarning) as caught:
        node.compute(seed=1)
    assert "***" in str(caught[0].message)
    assert "hunter2!" not in str(caught[0].message)


# -- digests ----------------------------------------------------------------------------


def test_the_digest_of_a_secret_needs_the_users_key(config: Path) -> None:
    from daskperiment.secrets import key

    before = digest([Secret("hunter2!")])
    assert digest([Secret("hunter2!")]) == before != digest([Secret("hunter3!")])
    file = config / "daskperiment" / "key"
    assert len(file.read_bytes()) == 32
    if os.name != "nt":
        assert file.stat().st_mode & 0o777 == 0o600
    file.unlink()
    for cached in (key._own_key, key.read_key):
        cached.cache_clear()
    after = digest([Secret("hunter2!")])
    assert after.partition(":")[0] != before.partition(":")[0] != "v1"


def test_without_a_key_a_secret_has_no_digest(
    memory_ex: Experiment, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text("a file where the directory should be")
    record(memory_ex, memory_ex.parameter("api_key", default="hunter2!"))
    assert "hunter2!" not in everything(memory_ex)
    assert memory_ex._trials.get(1)["parameters_digest"] is None


def test_the_key_is_made_only_when_a_secret_is_recorded(
    memory_ex: Experiment, config: Path
) -> None:
    record(memory_ex, memory_ex.parameter("a", default="plain"))
    assert not config.exists()
    record(memory_ex, memory_ex.parameter("api_key", default="hunter2!"))
    assert (config / "daskperiment" / "key").exists()


def test_equal_secrets_make_equal_trials(memory_ex: Experiment) -> None:
    key = memory_ex.parameter("api_key")
    for value in ("one-word", "one-word", "other-word"):
        record(memory_ex, key, parameters={"api_key": value})
    first, second, third = (memory_ex._trials.get(n)["parameters_digest"] for n in (1, 2, 3))
    assert first == second != third


# -- other processes --------------------------------------------------------------------


@pytest.mark.parametrize("value", [Secret("hunter2!"), "hunter2!", {"password": "hunter2!"}])
@pytest.mark.parametrize("where", ["processes", "client"])
def test_a_secret_is_not_sent_to_other_processes(
    value: Any, where: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    scheduler = request.getfixturevalue("client") if where == "client" else where
    ex = Experiment("secret", backend=tmp_path / "store")
    name = "api_key" if isinstance(value, str) else "a"
    node = ex.result(length)(ex.parameter(name, default=value))
    with pytest.raises(SecretError, match=r'Secret\.from_env\("NAME"\)') as caught:
        node.compute(scheduler=scheduler)
    assert "hunter2!" not in str(caught.value)
    with pytest.raises(SecretError):
        cloudpickle.dumps(ex)


def test_a_hidden_value_refuses_to_travel_on_a_scheduler_that_is_not_known(tmp_path: Path) -> None:
    import dask.multiprocessing

    def get(graph: Any, keys: Any, **options: Any) -> Any:
        return dask.multiprocessing.get(graph, keys, **options)

    ex = Experiment("secret", backend=tmp_path / "store")
    node = ex.result(len_of_text)(ex.parameter("api_key"))
    with pytest.raises(SecretError, match=r'Secret\.from_env\("NAME"\)'):
        node.compute(scheduler=get, parameters={"api_key": "hunter2!"})


def len_of_text(key: str) -> int:
    return len(key)


def length(secret: Any) -> int:
    return len(secret.reveal())


@pytest.mark.parametrize("where", ["processes", "client"])
def test_workers_take_a_secret_from_their_environment(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    scheduler = request.getfixturevalue("client") if where == "client" else where
    monkeypatch.setenv("PATH_OF_SECRET", os.environ["PATH"])
    variable = "PATH" if where == "client" else "PATH_OF_SECRET"  # what its workers have, too
    ex = Experiment("secret", backend=tmp_path / "store")
    node = ex.result(length)(ex.parameter("a", default=Secret.from_env(variable)))
    assert node.compute(scheduler=scheduler) == len(os.environ["PATH"])
    assert os.environ["PATH"] not in everything(ex)


# -- canaries ---------------------------------------------------------------------------

SCRIPT = """
import json, logging, multiprocessing, os, sys
from pathlib import Path

import dask
import daskperiment
from daskperiment import Secret

MODE, OUT = sys.argv[1], Path(sys.argv[2])


def dumps(task):
    import cloudpickle
    data = cloudpickle.dumps(task)
    if multiprocessing.parent_process() is None:  # not what a worker gives back
        with open(OUT / "graph", "ab") as file:
            file.write(data)
    return data


def main():
    logging.captureWarnings(True)
    handler = logging.FileHandler(OUT / "log")
    for name in ("daskperiment", "py.warnings", "distributed"):
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(logging.DEBUG)
    canaries = json.loads((OUT / "canaries").read_text())
    ex = daskperiment.Experiment("canary", backend=os.environ.get("BACKEND", OUT / "store"))
    values = {"ordinary": canaries["ordinary"][0]}
    if MODE == "threads":
        values |= {f"s{i}": Secret(c) for i, c in enumerate(canaries["secret"])}
        values |= {f"p{i}.password": c for i, c in enumerate(canaries["name"])}
        values |= {f"t{i}": "ghp_" + c * 2 for i, c in enumerate(canaries["shape"])}
        values["nested"] = {
            "list": [{"api_key": c, "n": 1} for c in canaries["key"]],
            "urls": ["https://user:" + c + "@host/x" for c in canaries["url"]],
        }
    else:
        names = [name for name in os.environ if name.startswith("CANARY")]
        values |= {f"e{i}": Secret.from_env(name) for i, name in enumerate(names)}
    nodes = {name: ex.parameter(name, default=value) for name, value in values.items()}

    @ex
    def use(values):
        known = [v.reveal() if isinstance(v, Secret) else v for v in values.values()]
        print("values", known, values)
        print("password=" + known[-1] if isinstance(known[-1], str) else "", file=sys.stderr)
        logging.getLogger("user").warning("values %s", known)
        place = "/proc/self/cmdline"
        if MODE != "threads" and os.path.exists(place):
            (OUT / "commands").write_bytes(Path(place).read_bytes())
        return len(known)

    @ex
    def say(count):
        for word in words("printed"):
            print("connect to redis://:" + word + "@host/0 with --token " + word)
        return count

    @ex.result
    def score(count, ordinary):
        return ordinary

    @ex.result(name="fail")
    def fail(values):
        known = [v.reveal() if isinstance(v, Secret) else v for v in values.values()]
        urls = " ".join("mongodb://user:" + word + "@host" for word in words("raised"))
        raise RuntimeError(f"refused: {known} {urls}")

    @ex.result(name="back")
    def back(values):
        return [v.reveal() if isinstance(v, Secret) else v for v in values.values()]

    def words(kind):
        return json.loads((OUT / "canaries").read_text())[kind]

    @ex
    def collect(**values):
        return values

    with dask.config.set(func_dumps=dumps):
        options = {"scheduler": MODE}
        found = collect(**nodes)
        score(say(use(found)), nodes["ordinary"]).compute(**options)
        back(found).compute(**options)
        try:
            fail(found).compute(**options)
        except RuntimeError:
            pass
    print(repr(ex.get_history()))


if __name__ == "__main__":
    main()
"""

KINDS = [
    "variable",
    "argument",
    "remote",
    "secret",
    "name",
    "shape",
    "key",
    "url",
    "printed",
    "raised",
]


def canaries() -> dict[str, list[str]]:
    """Twenty of each kind, and one that is no secret."""
    made = {kind: [f"{_letters(20, (kind, i))}7" for i in range(20)] for kind in KINDS}
    return {**made, "ordinary": [_letters(20, "ordinary")]}


def git(*arguments: str, cwd: Path) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *identity, *arguments], cwd=cwd, check=True, capture_output=True)


def run_script(mode: str, place: Path, planted: dict[str, list[str]]) -> None:
    project, out = place / "project", place / "out"
    project.mkdir()
    out.mkdir()
    script = project / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    (out / "canaries").write_text(json.dumps(planted))
    git("init", "-q", cwd=project)
    git("add", ".", cwd=project)
    git("commit", "-q", "-m", "first", cwd=project)
    for i, canary in enumerate(planted["remote"]):
        url = f"https://user:{canary}@host/a.git"
        git("remote", "add", f"r{i}" if i else "origin", url, cwd=project)
    arguments = []
    for i, canary in enumerate(planted["argument"]):
        forms = ([f"--password={canary}"], ["--api-key", canary], [f"t=https://u:{canary}@host/"])
        arguments += forms[i % 3]
    variables = {f"CANARY_{i}": canary for i, canary in enumerate(planted["variable"])}
    run = subprocess.run(
        [sys.executable, str(script), mode, str(out), *arguments],
        cwd=project, env={**os.environ, **variables}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr


def traces(out: Path) -> Iterator[tuple[str, bytes]]:
    """All that the trials left: files, rows of databases, payloads, logs, sent tasks."""
    for file in sorted(path for path in out.rglob("*") if path.is_file()):
        if file.name != "canaries":
            yield str(file), file.read_bytes()
    for database in out.rglob("*.sqlite*"):
        if not database.name.endswith(("-wal", "-shm", "-journal")):
            yield from cells(database)
    with open_backend(os.environ.get("BACKEND", out / "store")) as backend:
        for digest, _ in backend.blobs():
            yield digest, backend.fetch(digest)


def hits(planted: dict[str, list[str]], out: Path) -> set[tuple[str, str]]:
    """Kind and place of each canary that is found."""
    left = list(traces(out))
    return {
        (kind, place)
        for kind, texts in planted.items()
        for text in texts
        for place, data in left
        if text.encode() in data or text.encode("utf-16-le") in data
    }


@pytest.mark.parametrize("mode", ["threads", "processes"])
def test_canaries_are_found_nowhere(mode: str, tmp_path: Path) -> None:
    needs_program("git")
    planted = canaries()
    assert sum(map(len, planted.values())) == 201
    run_script(mode, tmp_path, planted)
    found = hits(planted, tmp_path / "out")
    assert any(kind == "ordinary" for kind, _ in found), "the search finds nothing at all"
    assert {hit for hit in found if hit[0] != "ordinary"} == set()
