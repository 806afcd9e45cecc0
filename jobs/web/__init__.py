"""The front door over HTTP: take jobs and uploads in, tell how far they are, hand results out."""
