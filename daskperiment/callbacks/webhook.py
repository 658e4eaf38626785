"""Messages by HTTP."""

from __future__ import annotations

import json
import ssl
import urllib.request
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Literal, TypeAlias
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit

from daskperiment.callbacks.notifying import DEFAULT, Notifier
from daskperiment.callbacks.outbox import Message
from daskperiment.callbacks.sensitive import Sensitive
from daskperiment.errors import CallbackError
from daskperiment.secrets import MASK, Secret
from daskperiment.serializers.preview import preview

Shape: TypeAlias = Literal["json", "slack"]
_SHAPES = ("json", "slack")
_PASSING = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


class Webhook(Notifier):
    """Posts JSON to an address when a batch begins and ends, and when a trial has failed.

    A thread of its own does it, so that a server that is away costs nothing.  Redirections are
    not followed.  The address is a secret: it is never shown, in the log neither.

    Parameters
    ----------
    url : str or Secret
        The address, ``https://`` or ``http://``; ``${NAME}`` in it stands for an environment
        variable.
    shape : {"json", "slack"}
        ``"slack"`` posts ``{"text": ...}``, as Slack, Mattermost and others take it; ``"json"``
        the text and the facts in it: ``event``, ``experiment``, ``time``, of a batch ``total``,
        ``done``, ``pruned``, ``failed`` and ``skipped``, of a trial ``trial``, ``uid``, ``state``,
        ``parameters`` and ``outcome``.
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
    >>> Webhook("https://hooks.example.org/services/T0/B0/x4Z", shape="slack")
    Webhook('https://hooks.example.org/***', shape='slack')
    """

    def __init__(
        self,
        url: str | Secret,
        shape: Shape = "json",
        *,
        events: Iterable[str] = DEFAULT,
        timeout: float = 10.0,
    ) -> None:
        if shape not in _SHAPES:
            raise CallbackError(f"shape is 'json' or 'slack', not {preview(shape, 80)}")
        self.shape = shape
        self._url = Sensitive("url", url)
        parts = _parts(self._address())
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise CallbackError(
                "url is an address that begins with https:// or http://, such as "
                "https://hooks.example.org/path, or ${NAME} of a variable that holds one"
            )
        super().__init__(events, timeout)

    def __repr__(self) -> str:
        return f"Webhook({self._place()!r}, shape={self.shape!r})"

    def _address(self) -> str:
        return self._url.reveal(_quoted)

    def _place(self) -> str:
        parts = _parts(self._address())
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname}{port}/{MASK}"

    def _send(self, message: Message) -> None:
        document = {"text": message.text} if self.shape == "slack" else message.document
        headers = {"Content-Type": "application/json", "User-Agent": "daskperiment"}
        data = json.dumps(document).encode()
        request = urllib.request.Request(self._address(), data, headers, method="POST")
        opener = urllib.request.build_opener(_NoRedirection)
        try:
            opener.open(request, timeout=self.timeout).close()
        except HTTPError as error:
            error.close()
            raise

    def _is_final(self, error: Exception) -> bool:
        if isinstance(error, HTTPError):
            return error.code < HTTPStatus.INTERNAL_SERVER_ERROR and error.code not in _PASSING
        return isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError)


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    """Lets a redirection be the error that it is: it would post to somebody else."""

    def redirect_request(self, *args: Any) -> None:
        return None


def _quoted(value: str) -> str:
    return quote(value, safe="")


def _parts(url: str) -> Any:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # raises for one that is no number
    except ValueError:
        return urlsplit("")
    return parts
