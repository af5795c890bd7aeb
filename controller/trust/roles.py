"""The roles, each of which may do what those before it may."""

ROLES = ("observer", "responder", "admin")


def within(role: str, most: str) -> bool:
    """Whether a role allows no more than another. Both are of ROLES."""
    return ROLES.index(role) <= ROLES.index(most)
