"""The medic on a host: looks, remembers, judges, and answers over mutual TLS."""

VERSION = "0.1.0"
