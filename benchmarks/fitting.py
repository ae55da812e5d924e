from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """What a batch costs: ``fixed``, whatever its size, and ``each`` for every one in it."""

    fixed: float
    each: float

    def of(self, size: float) -> float:
        """Return the cost of a batch of this size."""
        return self.fixed + self.each * size

    def shared(self, size: float) -> float:
        """Return the cost of one of a batch of this size."""
        return self.fixed / size + self.each


def fit(costs: Mapping[int, float]) -> Line:
    """Fit a line to costs by batch size; all sizes count alike, by their relative errors, and no part is negative."""
    points = [(size, cost, 1.0 / cost**2) for size, cost in costs.items() if cost > 0]
    if not points:
        return Line(0.0, 0.0)
    total = sum(weight for _, _, weight in points)
    mean_size = sum(size * weight for size, _, weight in points) / total
    mean_cost = sum(cost * weight for _, cost, weight in points) / total
    spread = sum(weight * (size - mean_size) ** 2 for size, _, weight in points)
    together = sum(weight * (size - mean_size) * (cost - mean_cost) for size, cost, weight in points)
    each = max(0.0, together / spread) if spread else 0.0
    fixed = mean_cost - each * mean_size
    return Line(fixed, each) if fixed >= 0 else Line(0.0, mean_cost / mean_size)
