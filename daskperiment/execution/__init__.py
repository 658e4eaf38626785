"""Running trials: around one call of a step, and around one trial."""
