"""What surrounds the trials of one handle, as far as the options allow."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import NamedTuple

from daskperiment import options
from daskperiment.history.snapshots import with_texts
from daskperiment.tracking import environment, git
from daskperiment.typing import Document

logger = logging.getLogger(__name__)


class _Switches(NamedTuple):
    code: bool
    git: bool
    limit: int
    usage: bool


class Surroundings:
    """Looks at environment and session; reads the options once, at the first look."""

    def __init__(self) -> None:
        self._logged = False

    @cached_property
    def _switches(self) -> _Switches:
        code = options.value("code")
        limit = options.value("git_limit") if code else 0
        return _Switches(code, options.value("git"), limit, options.value("usage"))

    @property
    def keeps_code(self) -> bool:
        """Whether source text is kept."""
        return self._switches.code

    @property
    def keeps_usage(self) -> bool:
        """Whether it is sampled what trials use."""
        return self._switches.usage

    def session(self, code: str | None = None) -> environment.Snapshot:
        """What explains a trial that begins now, but does not change its results.

        Parameters
        ----------
        code : str, optional
            Digest of the code that runs: git is asked again when it changes.
        """
        if not self._switches.git:
            return environment.session()
        here = environment.main_file(), environment.working_directory()
        return environment.session(git.repository(*here, self._switches.limit).look(code))

    def document(self) -> Document:
        """Everything that surrounds a trial that would begin now, by category."""
        session = self.session()
        now = environment.snapshot().document | session.document
        return with_texts(now, session.texts.__getitem__)

    def log(self, environment_: Document, session: Document) -> None:
        """Log a summary, once."""
        if not self._logged:
            self._logged = True
            for line in environment.summary(environment_ | session):
                logger.info("%s", line)
