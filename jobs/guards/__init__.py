"""Guards: pure functions that look at what passes through a job, and say whether it may."""
