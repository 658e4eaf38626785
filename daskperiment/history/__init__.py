"""The record of trials over a backend: one module a noun, and the paths they live at."""
