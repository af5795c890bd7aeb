"""An agent onto a host over SSH, and off it again."""
