"""Plans and operations: what may be asked of them, and the process that carries one out."""
