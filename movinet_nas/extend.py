"""Names for extensions: base classes, arguments and return types of your own modules."""

from movinet.data.proxy.clip_source import ClipSource
from nas.algorithms.base import Algorithm, Exhausted
from nas.config.metrics import Metric
from nas.record.events import Completed, Event, Failed, Proposal, Rung, Stopped
from nas.record.objective import Objective
from nas.tasks.base import Task
from search_space.cost.counting import ArchitectureBatch, CostFunction
from search_space.space.choices import Choice, Condition, Genotype, SearchSpace
from search_space.space.sampling import Limit

__all__ = [
    "Algorithm",
    "ArchitectureBatch",
    "Choice",
    "ClipSource",
    "Completed",
    "Condition",
    "CostFunction",
    "Event",
    "Exhausted",
    "Failed",
    "Genotype",
    "Limit",
    "Metric",
    "Objective",
    "Proposal",
    "Rung",
    "SearchSpace",
    "Stopped",
    "Task",
]
