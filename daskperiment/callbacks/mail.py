"""Messages by e-mail."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterable
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Literal, TypeAlias

from daskperiment.callbacks.notifying import DEFAULT, Notifier
from daskperiment.callbacks.outbox import Message
from daskperiment.callbacks.scores import check_count
from daskperiment.callbacks.sensitive import Sensitive
from daskperiment.errors import CallbackError
from daskperiment.secrets import Secret
from daskperiment.serializers.preview import preview

TLS: TypeAlias = Literal["starttls", "implicit"] | None
_PORTS = {"starttls": 587, "implicit": 465, None: 25}
_SUBJECT = 120
"""Characters of a subject."""
_PERMANENT = 500


class Email(Notifier):
    """Sends an e-mail when a batch begins and ends, and when a trial has failed.

    A thread of its own does it, so that a server that is away costs nothing.

    Parameters
    ----------
    host : str
        The SMTP server.
    sender : str
        Address that it comes from.
    to : str or iterable of str
        Addresses that it goes to.
    user, password : str or Secret, optional
        For a server that wants a login; ``${NAME}`` in them stands for an environment variable.
        The password is masked wherever it would be shown.
    port : int, optional
        Default 587, with ``tls="implicit"`` 465, with ``tls=None`` 25.
    tls : {"starttls", "implicit", None}
        Whether the connection becomes secret after it was made, is so from the start, or never,
        which goes without a login only.  The server's certificate is checked.
    events : iterable of str
        What is told: ``before_batch``, ``after_batch``, ``failure`` (a trial that is FAILED or
        CRASHED) and ``after_trial`` (every trial).
    timeout : float
        Seconds for connecting and for each answer.

    Raises
    ------
    CallbackError
        An argument is none of these, or a variable is not set.

    Examples
    --------
    >>> Email("mail.example.org", "lab@example.org", "me@example.org", user="lab", password="x4Z1")
    Email('mail.example.org', 'lab@example.org', ['me@example.org'], port=587, tls='starttls')
    """

    def __init__(
        self,
        host: str,
        sender: str,
        to: str | Iterable[str],
        user: str | Secret | None = None,
        password: str | Secret | None = None,
        *,
        port: int | None = None,
        tls: TLS = "starttls",
        events: Iterable[str] = DEFAULT,
        timeout: float = 10.0,
    ) -> None:
        if tls not in _PORTS:
            raise CallbackError(f"tls is 'starttls', 'implicit' or None, not {preview(tls, 80)}")
        if not isinstance(host, str) or not host:
            raise CallbackError(f"host is the name of an SMTP server, not {preview(host, 80)}")
        if (user is None) is not (password is None):
            raise CallbackError("A login is user and password: give both or none")
        if user is not None and tls is None:
            raise CallbackError(
                "The password would be sent for everybody on the way to read: give tls='starttls' "
                "or tls='implicit', or no login"
            )
        self.host = host
        self.port = _PORTS[tls] if port is None else check_count("port", port)
        self.tls = tls
        self.sender = _address("sender", sender)
        self.to = [_address("to", one) for one in ([to] if isinstance(to, str) else to)]
        if not self.to:
            raise CallbackError("to is at least one address")
        self._login: tuple[Sensitive, Sensitive] | None = None
        if user is not None and password is not None:
            self._login = Sensitive("user", user, masked=False), Sensitive("password", password)
        super().__init__(events, timeout)

    def __repr__(self) -> str:
        return (
            f"Email({self.host!r}, {self.sender!r}, {self.to!r}, port={self.port}, "
            f"tls={self.tls!r})"
        )

    def _place(self) -> str:
        return f"{', '.join(self.to)} by {self.host}:{self.port}"

    def _send(self, message: Message) -> None:
        with self._connected() as server:
            if self._login is not None:
                user, password = self._login
                server.login(user.reveal(), password.reveal())
            refused = server.send_message(self._mail(message))
        if refused:
            raise smtplib.SMTPRecipientsRefused(refused)

    def _connected(self) -> smtplib.SMTP:
        if self.tls == "implicit":
            secure = ssl.create_default_context()
            return smtplib.SMTP_SSL(self.host, self.port, timeout=self.timeout, context=secure)
        server = smtplib.SMTP(self.host, self.port, timeout=self.timeout)
        if self.tls == "starttls":
            try:
                server.starttls(context=ssl.create_default_context())
            except BaseException:
                server.close()
                raise
        return server

    def _mail(self, message: Message) -> EmailMessage:
        mail = EmailMessage()
        subject = " ".join(f"[daskperiment] {message.text}".split())
        mail["Subject"] = subject if len(subject) <= _SUBJECT else f"{subject[: _SUBJECT - 4]} ..."
        mail["From"], mail["To"] = self.sender, ", ".join(self.to)
        mail["Date"], mail["Message-ID"] = formatdate(localtime=True), make_msgid(domain=self.host)
        mail.set_content(f"{message.text}\n")
        return mail

    def _is_final(self, error: Exception) -> bool:
        if isinstance(error, smtplib.SMTPResponseException):
            return error.smtp_code >= _PERMANENT
        refused = (smtplib.SMTPRecipientsRefused, smtplib.SMTPNotSupportedError)
        return isinstance(error, (*refused, ssl.SSLCertVerificationError))


def _address(name: str, text: object) -> str:
    if isinstance(text, str) and "@" in text and text.isprintable():
        return text
    raise CallbackError(f"{name} is an address such as me@example.org, not {preview(text, 80)}")
