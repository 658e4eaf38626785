"""The command line: ``daskperiment VERB`` and ``python -m daskperiment VERB``.

Each verb makes one plain document of what history holds, and shows it as text or, with
``--json``, as it is.  Modules import what is slow inside the verbs, so that help is quick.
"""

from __future__ import annotations

from daskperiment.cli.main import cli, main

__all__ = ["cli", "main"]
