"""Published values, the audit of the paper, and which values apply to a run."""
