"""How far a mean of few values can be trusted: Student's interval."""

import math
from collections.abc import Sequence
from statistics import stdev


def interval(values: Sequence[float]) -> float | None:
    """Half the width of Student's 95 % interval of the mean; None for a single value.

    t · s/√n, t the 0.975 quantile with n − 1 degrees of freedom.
    """
    n = len(values)
    return None if n < 2 else student_quantile(0.975, n - 1) * stdev(values) / math.sqrt(n)


def student_quantile(p: float, degrees: int) -> float:
    """The quantile of Student's distribution, by bisection, for p in (1/2, 1)."""
    low, high = 0.0, 1.0
    while student_cdf(high, degrees) < p:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if student_cdf(middle, degrees) < p else (low, middle)
    return high


def student_cdf(t: float, degrees: int) -> float:
    """The probability of a value below t, t ≥ 0, as a finite sum over the degrees of freedom.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, equations 26.7.3 and 26.7.4.
    """
    angle = math.atan(t / math.sqrt(degrees))
    cosine = math.cos(angle)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = 0.0 if degrees == 1 else term
    for k in range(3 if odd else 2, degrees - 1, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    within = 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
    return 0.5 + within / 2
