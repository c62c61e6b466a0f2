"""Contract tests for extensions. Each raises `AssertionError`, whose message says what is wrong, or returns None."""

from movinet_nas.contracts.algorithm import ALGORITHM_CHECKS, check_algorithm

__all__ = ["ALGORITHM_CHECKS", "check_algorithm"]
