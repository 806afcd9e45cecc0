"""What an agent is: declarations, the transcript a model is shown, and what its answers mean."""
