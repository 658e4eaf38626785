"""``python -m daskperiment``: the same as the command ``daskperiment``."""

from __future__ import annotations

from daskperiment.cli import main

if __name__ == "__main__":
    main()
