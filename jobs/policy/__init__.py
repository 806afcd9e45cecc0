"""What may be done: rules, the verdict that they come to on one call of a tool, and why."""
