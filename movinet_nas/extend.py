"""Names for extensions: what a module of your own derives from, is given, or returns."""

from movinet.data.proxy.clip_source import ClipSource
from nas.algorithms.base import Algorithm, Exhausted
from nas.record.events import Completed, Event, Failed, Proposal, Rung, Stopped
from nas.record.objective import Objective
from search_space.space.choices import Choice, Condition, Genotype, SearchSpace
from search_space.space.sampling import Limit

__all__ = [
    "Algorithm",
    "Choice",
    "ClipSource",
    "Completed",
    "Condition",
    "Event",
    "Exhausted",
    "Failed",
    "Genotype",
    "Limit",
    "Objective",
    "Proposal",
    "Rung",
    "SearchSpace",
    "Stopped",
]
