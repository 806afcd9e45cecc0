"""What Stepwell can do, as agents to use and to read."""
