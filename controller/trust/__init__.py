"""Certificates: the files we call with, and the authorities they come from."""
