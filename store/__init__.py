"""What is true: Postgres holds every job, step, event and byte; everything above only asks it."""
