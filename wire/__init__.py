"""HTTP, JSON and server-sent events, shared by gateway and corrector; knows nothing of alignment."""
