"""Rules about what services of this host need elsewhere."""
