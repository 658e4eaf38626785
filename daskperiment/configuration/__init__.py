"""Configuration: parameters from files, merged into one nested mapping."""

from __future__ import annotations

from daskperiment.configuration.merged import Configuration, Source, merge, read

__all__ = ["Configuration", "Source", "merge", "read"]
