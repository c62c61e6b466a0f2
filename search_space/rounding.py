"""Channel rounding of the MoViNet release."""

DIVISOR = 8


def make_divisible(value: float, divisor: int = DIVISOR) -> int:
    """Nearest multiple of `divisor`, half up, at least `divisor`, and never more than 10 % below `value`."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded
