"""What private servers on this machine need: a folder of their own, a port, a life tied to ours."""
