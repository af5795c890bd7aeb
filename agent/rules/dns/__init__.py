"""Rules about name resolution."""
