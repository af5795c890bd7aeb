"""How an agent is reached: over mutual TLS, or as a process on this machine."""
