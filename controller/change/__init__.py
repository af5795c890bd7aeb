"""Changes to hosts: planned on each, applied in batches within a budget, and proven to have cured."""
