"""Names and units in which costs are shown; a cost without an entry here is shown by its own name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Label:
    """Display of a cost: `words` (`short` where space is scarce), in `unit`, of which one is `size` of the cost."""

    words: str
    unit: str = ""
    size: float = 1
    short: str = ""

    @property
    def heading(self) -> str:
        """Words and unit for the head of a column."""
        return f"{self.words}, {self.unit}" if self.unit else self.words

    def number(self, value: float) -> str:
        """Return a value in the unit, without naming it."""
        return f"{value / self.size:.2f}" if self.unit else f"{value:,.4g}"

    def quantity(self, value: float) -> str:
        """Return a value with its unit."""
        return f"{self.number(value)} {self.unit}".rstrip()


LABELS: Mapping[str, Label] = {
    "macs": Label("multiply-adds per clip", "M", 1e6, "multiply-adds"),
    "macs_per_frame": Label("multiply-adds per frame, streamed", "M", 1e6, "multiply-adds/frame"),
    "trainable_parameters": Label("parameters", "k", 1e3),
    "total_parameters": Label("parameters with moving statistics", "k", 1e3),
    "state_bytes": Label("stream state", "KiB", 1024),
    "activation_bytes": Label("peak activations", "KiB", 1024),
}


def label_of(cost: str) -> Label:
    """Return the label of a cost by name."""
    return LABELS.get(cost) or Label(cost.replace("_", " "))
