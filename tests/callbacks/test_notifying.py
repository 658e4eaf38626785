"""Webhooks and e-mails reach real servers, and a server that is away costs nothing."""

from __future__ import annotations

import email
import email.policy
import os
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daskperiment import CallbackError, Experiment, Secret
from daskperiment.callbacks import Email, Webhook, outbox
from tests.callbacks.batches import Batch, inverse
from tests.callbacks.servers import Certificates, Hook, black_hole, post_office, webhook

ROOT = Path(__file__).parent.parent.parent
LONG = 60


@pytest.fixture(autouse=True)
def _nothing_is_told_at_the_end_of_the_tests() -> Iterator[None]:
    yield
    outbox._used.clear()


@pytest.fixture
def ex() -> Experiment:
    return Experiment("notified", backend="memory://")


@pytest.fixture
def hook() -> Iterator[Hook]:
    with webhook() as hook:
        yield hook


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


@pytest.fixture
def trusted(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> Certificates:
    """Certificates of an authority that this process trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    return certificates


def ran(ex: Experiment, *callbacks: object) -> Batch:
    """A batch of a trial that completes and one that fails."""
    return Batch(ex, inverse(ex), [{"a": 4}, {"a": 0}], *callbacks).run()


# -- webhooks


def test_a_webhook_is_told_of_the_batch_and_of_the_trial_that_failed(
    ex: Experiment, hook: Hook
) -> None:
    told = Webhook(hook.url)
    ran(ex, told)

    assert told.wait(LONG)
    begin, failure, end = hook.documents
    assert begin["text"] == "A batch of 2 trials of 'notified' begins"
    assert {name: begin[name] for name in ("event", "experiment", "total", "done")} == {
        "event": "before_batch", "experiment": "notified", "total": 2, "done": 0,
    }  # fmt: skip
    assert re.fullmatch(
        r"Trial 2 of 'notified', with a=0: FAILED in 0\.\d+ s: "
        r"ZeroDivisionError\(division by zero\)",
        failure["text"],
    )
    facts = ("event", "trial", "uid", "state", "parameters", "outcome")
    assert {name: failure[name] for name in facts} == {
        "event": "failure", "trial": 2, "uid": ex[2].uid, "state": "FAILED",
        "parameters": {"a": "0"}, "outcome": "ZeroDivisionError(division by zero)",
    }  # fmt: skip
    assert end["text"].endswith("1 complete, 1 failed")
    assert (end["event"], end["done"], end["failed"]) == ("after_batch", 1, 1)
    assert {request["path"] for request in hook.requests} == {"/T0/B0/x4Zsecret"}
    assert {request["headers"]["Content-Type"] for request in hook.requests} == {"application/json"}


def test_slack_gets_the_text_alone(ex: Experiment, hook: Hook) -> None:
    told = Webhook(hook.url, shape="slack", events=["before_batch"])
    ran(ex, told)

    assert told.wait(LONG)
    assert hook.documents == [{"text": "A batch of 2 trials of 'notified' begins"}]


def test_every_trial_is_told_where_that_is_asked_for(ex: Experiment, hook: Hook) -> None:
    told = Webhook(hook.url, events=["after_trial"])
    ran(ex, told)

    assert told.wait(LONG)
    assert hook.events == ["after_trial", "failure"]
    assert hook.documents[0]["outcome"] == "0.25"


def test_a_trial_on_its_own_is_told_when_it_fails(ex: Experiment, hook: Hook) -> None:
    told = Webhook(hook.url)
    ex.add_callback(told)

    inverse(ex).compute(parameters={"a": 4})
    with pytest.raises(ZeroDivisionError):
        inverse(ex).compute(parameters={"a": 0})

    assert told.wait(LONG)
    assert hook.events == ["failure"]


def test_an_address_may_be_in_the_environment_and_is_never_shown(
    ex: Experiment,
    hook: Hook,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("HOOK", hook.url)
    monkeypatch.setenv("PART", "x4Zsecret")
    place = hook.url.replace("T0/B0/x4Zsecret", "***")
    hook.statuses = [404, 404, 404]
    for url in (hook.url, "${HOOK}", Secret(hook.url), hook.url.replace("x4Zsecret", "${PART}")):
        told = Webhook(url, events=["before_batch"])
        ran(ex, told)

        assert told.wait(LONG)
        assert repr(told) == f"Webhook('{place}', shape='json')"

    assert {request["path"] for request in hook.requests} == {"/T0/B0/x4Zsecret"}
    assert f"A message was not delivered to {place}: HTTPError: HTTP Error 404" in caplog.text
    assert "x4Zsecret" not in caplog.text


def test_a_server_in_trouble_is_asked_again(ex: Experiment, hook: Hook) -> None:
    hook.statuses = [503, 429, 200]
    told = Webhook(hook.url, events=["before_batch"])
    ran(ex, told)

    assert told.wait(LONG)
    assert hook.events == ["before_batch"] * 3


@pytest.mark.parametrize("status", [404, 302])
def test_a_server_that_refuses_is_not_asked_again(
    ex: Experiment, hook: Hook, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    hook.statuses = [status]
    told = Webhook(hook.url, events=["before_batch"])
    ran(ex, told)

    assert told.wait(LONG)
    assert [request["path"] for request in hook.requests] == ["/T0/B0/x4Zsecret"]
    assert f"HTTP Error {status}" in caplog.text


def test_the_certificate_of_a_server_is_checked(
    ex: Experiment, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    with webhook(certificates.server) as hook:
        told = Webhook(hook.url, events=["before_batch"])
        ran(ex, told)
        assert told.wait(LONG)
        assert hook.requests == []

        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
        ran(ex, told)
        assert told.wait(LONG)
        assert hook.events == ["before_batch"]


def test_a_batch_ends_while_the_server_has_not_answered_yet(ex: Experiment, hook: Hook) -> None:
    hook.gate.clear()
    told = Webhook(hook.url)

    batch = ran(ex, told)

    assert (batch.done, batch.failed) == (1, 1)
    assert not told.wait(0)
    assert hook.first_came.wait(LONG)
    assert hook.events == ["before_batch"]
    hook.gate.set()
    assert told.wait(LONG)
    assert hook.events == ["before_batch", "failure", "after_batch"]


def test_no_more_than_a_hundred_messages_wait(
    ex: Experiment, hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    ran(ex)
    hook.gate.clear()
    told = Webhook(hook.url)
    for _ in range(150):
        told.after_trial(trial=ex[2], batch=None)
    hook.gate.set()

    assert told.wait(LONG)
    assert len(hook.requests) == 100
    assert caplog.text.count("A message was not delivered") == 1
    assert "100 messages wait already" in caplog.text


def test_secrets_are_not_sent(ex: Experiment, hook: Hook) -> None:
    told = Webhook(hook.url)
    ex.add_callback(told)

    @ex.result
    def login(password: Secret) -> None:
        raise ValueError(f"{password.reveal()} and api_key=abcdef are wrong")

    with pytest.raises(ValueError, match="are wrong"):
        login(ex.parameter("password", default=Secret("hunter2"))).compute()

    assert told.wait(LONG)
    (document,) = hook.documents
    assert document["outcome"] == "ValueError(*** and api_key=*** are wrong)"
    assert document["parameters"] == {"password": "***"}
    assert "hunter2" not in str(document)


BEGIN = """
    import os, sys
    from daskperiment import Experiment
    from daskperiment.callbacks import Email, Webhook
    from tests.callbacks.batches import Batch, inverse

    ex = Experiment("notified", backend="memory://")
    places = [{"a": 4}, {"a": 0}]
"""


def running(script: str) -> subprocess.Popen[str]:
    """A script in a process of its own."""
    Path("script.py").write_text(textwrap.dedent(BEGIN) + textwrap.dedent(script))
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    return subprocess.Popen(
        [sys.executable, "script.py"], stderr=subprocess.PIPE, text=True, env=environment
    )


def log(script: str) -> list[str]:
    """Lines that a script has logged, when it has ended."""
    with running(script) as process:
        lines = process.communicate(timeout=LONG)[1].splitlines()
    assert process.returncode == 0, lines
    return [re.sub(r"^.*?\[daskperiment\] ", "", line) for line in lines]


def test_a_process_ends_though_a_server_never_answers_and_says_what_was_lost() -> None:
    with black_hole() as port, black_hole() as other:
        lines = log(f"""
            hook = Webhook("http://127.0.0.1:{port}/secret")
            mail = Email("127.0.0.1", "a@b", "c@d", port={other}, tls=None, events=["failure"])
            Batch(ex, inverse(ex), places, hook, mail).run()
            """)

    assert lines[-1] == (
        f"[WARNING] Messages were not delivered to http://127.0.0.1:{port}/***: 1 of after_batch, "
        f"1 of before_batch, 1 of failure (there was no more time); to c@d by 127.0.0.1:{other}: "
        "1 of failure (there was no more time)"
    )
    assert sum("not delivered" in line for line in lines) == 1


def test_a_process_waits_for_messages_that_are_on_their_way(hook: Hook) -> None:
    hook.gate.clear()
    with running(f"""
        hook = Webhook({hook.url!r})
        Batch(ex, inverse(ex), places, hook).run()
        print("done", file=sys.stderr)
        """) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        assert any(line == "done\n" for line in lines)
        hook.gate.set()
        rest = process.communicate(timeout=LONG)[1]

    assert (process.returncode, rest) == (0, "")
    assert hook.events == ["before_batch", "failure", "after_batch"]


def test_what_is_lost_because_nobody_is_there_is_told_with_the_reason() -> None:
    with black_hole() as port:
        pass
    lines = log(f"""
        hook = Webhook("http://127.0.0.1:{port}/", events=["before_batch"])
        Batch(ex, inverse(ex), places, hook).run()
        """)

    assert (
        "1 of before_batch (URLError: <urlopen error [Errno 111] Connection refused>)" in lines[-1]
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_that_is_forked_sends_its_own_messages_only(hook: Hook) -> None:
    hook.gate.clear()
    opener = threading.Thread(target=lambda: hook.first_came.wait(LONG) and hook.gate.set())
    opener.start()
    log(f"""
        hook = Webhook({hook.url!r})
        batch = Batch(ex, None, places)
        hook.before_batch(batch=batch)
        child = os.fork()
        if not child:
            hook.after_batch(batch=batch)
            os._exit(not hook.wait({LONG}))
        assert os.waitpid(child, 0)[1] == 0
        """)
    opener.join()

    assert sorted(hook.events) == ["after_batch", "before_batch"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"url": ""}, "url is a text, not ''"),
        ({"url": "file:///etc/passwd"}, "begins with https:// or http://"),
        ({"url": "https://host:port/x"}, "begins with https:// or http://"),
        ({"url": "${NO_SUCH_VARIABLE}"}, "environment variable NO_SUCH_VARIABLE, which is not set"),
        ({"shape": "xml"}, "shape is 'json' or 'slack', not 'xml'"),
        ({"events": ["failures"]}, "no event 'failures' to be told: those that there are: before_"),
        ({"timeout": "long"}, "timeout is a number from 0 on, not 'long'"),
    ],
)
def test_a_webhook_that_cannot_be_is_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(CallbackError, match=re.escape(says)):
        Webhook(**{"url": "https://host/path", **arguments})


# -- e-mails


def parsed(text: bytes) -> Any:
    return email.message_from_bytes(text, policy=email.policy.default)


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # of the test's server
@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_mails_are_sent_over_tls_with_a_login(
    ex: Experiment, trusted: Certificates, tls: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAIL_PASSWORD", "sword fish")
    with post_office(("me", "sword fish"), **{tls: trusted.server}) as post:
        told = Email(
            "localhost", "lab@example.org", ["a@example.org", "b@example.org"], "me",
            "${MAIL_PASSWORD}", port=post.port, tls=tls,
        )  # fmt: skip
        ran(ex, told)
        assert told.wait(LONG)

    begin, failure, end = post.mails
    assert {mail["secret"] for mail in post.mails} == {True}
    assert set(post.logins) == {("me", "sword fish")}
    assert begin["from"] == "lab@example.org"
    assert begin["to"] == ["a@example.org", "b@example.org"]
    mail = parsed(begin["text"])
    assert mail["Subject"] == "[daskperiment] A batch of 2 trials of 'notified' begins"
    assert (mail["From"], mail["To"]) == ("lab@example.org", "a@example.org, b@example.org")
    assert mail.get_content().strip() == "A batch of 2 trials of 'notified' begins"
    assert "ZeroDivisionError(division by zero)" in parsed(failure["text"]).get_content()
    assert parsed(end["text"])["Message-ID"] != mail["Message-ID"]


def test_mails_are_sent_in_clear_only_where_that_is_asked_for(ex: Experiment) -> None:
    with post_office() as post:
        told = Email("localhost", "lab@x.org", "a@x.org", port=post.port, tls=None)
        ran(ex, told)
        assert told.wait(LONG)

    assert [mail["secret"] for mail in post.mails] == [False] * 3


def test_a_password_is_not_sent_to_a_server_without_tls(
    ex: Experiment, caplog: pytest.LogCaptureFixture
) -> None:
    with post_office() as post:
        told = Email("localhost", "lab@x.org", "a@x.org", "me", "hunter2", port=post.port)
        ran(ex, told)
        assert told.wait(LONG)

    assert (post.mails, post.logins) == ([], [])
    assert "STARTTLS extension not supported" in caplog.text


def test_a_password_is_not_sent_to_a_server_with_a_certificate_of_its_own(
    ex: Experiment, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    with post_office(("me", "hunter2"), starttls=certificates.server) as post:
        told = Email("localhost", "lab@x.org", "a@x.org", "me", "hunter2", port=post.port)
        ran(ex, told)
        assert told.wait(LONG)

    assert (post.mails, post.logins) == ([], [])
    assert "certificate verify failed" in caplog.text


def test_a_wrong_password_is_told_without_it_and_not_tried_again(
    ex: Experiment, trusted: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    with post_office(("me", "hunter2"), starttls=trusted.server) as post:
        told = Email(
            "localhost", "lab@x.org", "a@x.org", "me", "swordfish", port=post.port,
            events=["before_batch"],
        )  # fmt: skip
        ran(ex, told)
        assert told.wait(LONG)

    assert (post.mails, {password for _, password in post.logins}) == ([], {"swordfish"})
    assert "A message was not delivered to a@x.org by localhost" in caplog.text
    assert "SMTPAuthenticationError" in caplog.text
    assert "swordfish" not in caplog.text
    assert "swordfish" not in repr(told)


def test_a_receiver_that_is_refused_is_told_and_the_others_get_theirs(
    ex: Experiment, caplog: pytest.LogCaptureFixture
) -> None:
    with post_office() as post:
        post.refused.add("b@x.org")
        told = Email(
            "localhost", "lab@x.org", ["a@x.org", "b@x.org"], port=post.port, tls=None,
            events=["before_batch"],
        )  # fmt: skip
        ran(ex, told)
        assert told.wait(LONG)

    assert [mail["to"] for mail in post.mails] == [["a@x.org"]]
    assert "nobody of this name" in caplog.text


def test_text_of_many_lines_and_other_letters_is_one_subject(ex: Experiment) -> None:
    @ex.result
    def fail() -> None:
        raise ValueError("not\nso é Bcc: all@x.org")

    with post_office() as post:
        told = Email("localhost", "lab@x.org", "a@x.org", port=post.port, tls=None)
        ex.add_callback(told)
        with pytest.raises(ValueError, match="not"):
            fail().compute()
        assert told.wait(LONG)

    (sent,) = post.mails
    assert sent["to"] == ["a@x.org"]
    mail = parsed(sent["text"])
    assert mail["Bcc"] is None
    assert mail["Subject"].endswith("ValueError(not so é Bcc: all@x.org)")
    assert "not\nso é Bcc" in mail.get_content().replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"host": ""}, "host is the name of an SMTP server, not ''"),
        ({"sender": "lab"}, "sender is an address such as me@example.org, not 'lab'"),
        ({"sender": "a@b\nBcc: c@d"}, "sender is an address"),
        ({"to": ["a@b", 7]}, "to is an address such as me@example.org, not 7"),
        ({"to": []}, "to is at least one address"),
        ({"user": "me"}, "A login is user and password: give both or none"),
        ({"user": "me", "password": "x", "tls": None}, "The password would be sent for everybody"),
        ({"user": "me", "password": "${NO_SUCH_VARIABLE}"}, "variable NO_SUCH_VARIABLE, which is"),
        ({"tls": "ssl"}, "tls is 'starttls', 'implicit' or None, not 'ssl'"),
        ({"port": 0}, "port is an integer from 1 on, not 0"),
        ({"events": "all"}, "There is no event 'all'"),
    ],
)
def test_an_email_that_cannot_be_is_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(CallbackError, match=re.escape(says)):
        Email(**{"host": "host", "sender": "a@b", "to": "c@d", **arguments})
