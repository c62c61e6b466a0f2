"""Contract tests for extensions. Each raises `AssertionError` with an explanation, or returns None."""

from movinet_nas.contracts.algorithm import ALGORITHM_CHECKS, check_algorithm
from movinet_nas.contracts.cost import check_cost
from movinet_nas.contracts.metric import check_metric
from movinet_nas.contracts.source import check_source
from movinet_nas.contracts.task import check_task

__all__ = ["ALGORITHM_CHECKS", "check_algorithm", "check_cost", "check_metric", "check_source", "check_task"]
