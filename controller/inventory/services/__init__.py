"""What the inventory says of a host's services: their variables, what an agent is told of them, and their links."""
