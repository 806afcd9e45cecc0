"""The fault world: real processes, struck at an exact moment, and laws that must hold still."""
