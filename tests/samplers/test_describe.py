from __future__ import annotations

from functools import cached_property

from samplers.describe import describe


class Shape:
    """As a class of ours, with something that is worked out when it is first asked for."""

    __module__ = "samplers.shape"

    def __init__(self, side: int) -> None:
        self.side = side

    @cached_property
    def area(self) -> int:
        return self.side**2


def test_what_was_already_looked_at_makes_no_difference():
    fresh, used = Shape(3), Shape(3)
    assert used.area == 9
    assert describe(used) == describe(fresh) == {"class": "Shape", "side": 3}
