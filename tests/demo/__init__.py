"""The demo pods, tested with the kernel itself."""
