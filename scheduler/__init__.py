"""What is due: caretakers that act because time has passed, and know nothing of agents."""
