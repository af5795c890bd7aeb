"""A bastion that gives no answer."""


class BastionAway(Exception):
    """It can't be reached, or the connection broke; one line says which, why, and the mend."""
