"""Rules about Python servers."""
