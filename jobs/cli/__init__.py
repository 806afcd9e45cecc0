"""The command line: ask for jobs, watch them, and bring the platform up."""
