"""The unprivileged half of the agent: it lets callers in, and passes on what they may ask."""
