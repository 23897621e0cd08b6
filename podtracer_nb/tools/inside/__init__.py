"""Programs of their own that run inside a target, between the supervisor and a tool; the standard library only."""
