"""Networks that a run trains instead of a search; see `nas.studies.validation`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from search_space.architecture import Architecture, from_dict
from search_space.base.configuration import NOT_EMPTY, configuration, within

Kind = Literal["finalist", "reference"]


@configuration
class FixedNetwork:
    """A network to train, unchanged or scaled.

    Attributes:
      of: name of the network in the run that it comes from, such as "trial 5" or "a0".
      kind: finalist for a selected network, reference for a published one.
      architecture: architecture to train, as plain data.
      scale: multiply-adds, as a multiple of those of the network in the run, before rounding.
    """

    of: Annotated[str, NOT_EMPTY]
    kind: Kind
    architecture: Mapping[str, Any]
    scale: Annotated[float, within(1e-3, 1e6)] = 1.0

    def __post_init__(self) -> None:
        from_dict(self.architecture, "architecture")

    @property
    def network(self) -> Architecture:
        """The architecture to train."""
        return from_dict(self.architecture)

    @property
    def label(self) -> str:
        """Label of its trainings."""
        return self.of if self.scale == 1 else f"{self.of} x{self.scale:g}"
