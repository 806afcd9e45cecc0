"""The migrations, oldest first; one that has shipped is never edited."""
