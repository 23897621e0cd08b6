"""Coverage-guided fuzzing of the packet reader: `make fuzz`."""
