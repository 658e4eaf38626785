"""Suites that check a backend of one's own against the contract; they need pytest."""
