"""Rules about HTTP endpoints."""
