"""The life of a job, whatever it does: taken in, attempted step by step, settled."""
