"""What is written about an incident: from the kept runs to a model of what they know, and what only people know."""
