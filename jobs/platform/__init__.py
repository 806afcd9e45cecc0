"""Everything `stepwell up` starts: private servers, our processes, one log, one way to stop."""
