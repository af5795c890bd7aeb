"""Rules about the host itself."""
