"""Host patterns: from a text over an inventory to the names it selects, or to a refusal."""
