"""A mapping as it was written, with the line of each key."""


class Table(dict[object, object]):
    """`lines` holds the line of each key, counted from 1."""

    __slots__ = ("lines",)

    def __init__(self) -> None:
        self.lines: dict[object, int] = {}
