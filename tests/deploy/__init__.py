"""What deploy/ holds, read here and applied to the tests' own cluster."""
