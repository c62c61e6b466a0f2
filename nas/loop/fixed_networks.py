"""Networks that a run trains in place of a search; see `nas.studies.validation`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search_space import architecture
from search_space.architecture import check_number
from search_space.base.errors import InputError
from search_space.base.names import check_choice


@dataclass(frozen=True)
class FixedNetwork:
    """A network to train, as it is or scaled.

    Attributes:
      of: what the network is called in the run that it comes from, such as "trial 5" or "a0".
      kind: "finalist" for a selected network, "reference" for a published one.
      architecture: of what is trained, as plain data.
      scale: its multiply-adds, in those of the network in the run, before rounding.
    """

    of: str
    kind: str
    architecture: Mapping[str, Any]
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.of, str) or not self.of:
            raise InputError("of", self.of, "must be the name of a network")
        check_choice("kind", self.kind, ("finalist", "reference"))
        architecture.from_dict(self.architecture, "architecture")
        check_number("scale", self.scale, 1e-3, 1e6)

    @property
    def label(self) -> str:
        """Name of its trainings."""
        return self.of if self.scale == 1 else f"{self.of} x{self.scale:g}"
