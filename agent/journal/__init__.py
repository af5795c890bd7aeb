"""What is written down before it is done: the audit log, and the format of its lines."""
