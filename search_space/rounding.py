"""Channel rounding of the TF Model Garden."""

DIVISOR = 8


def make_divisible(value: float, divisor: int = DIVISOR) -> int:
    """Return the nearest multiple of `divisor`, half up, at least `divisor`, and at most 10 % below `value`."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded
