"""Text in which ``${NAME}`` stands for an environment variable."""

from __future__ import annotations

import re

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z_0-9]*)\}")
"""A variable in a text; its only group is the name."""
