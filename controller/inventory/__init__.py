"""Inventory sources in Ansible's formats, the hosts in them, and the patterns that select hosts."""
