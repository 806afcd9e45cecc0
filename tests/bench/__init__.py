"""How fast a step is, measured beside what it is built on, in one run on this machine."""
