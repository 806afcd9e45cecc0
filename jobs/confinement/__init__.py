"""Child processes for what must not run inside ours: their locks, and how they are followed."""
