"""Readers, one for each kind of source: text in, groups and hosts into the draft."""
