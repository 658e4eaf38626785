"""Tests of the dashboard: what it serves, to whom, and that nothing in a store harms it."""
