"""Questions asked of the records of trials."""
