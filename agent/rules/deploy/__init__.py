"""Rules about releases and what was changed."""
