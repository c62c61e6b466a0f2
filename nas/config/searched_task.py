"""The network family of a search."""

from __future__ import annotations

from typing import Any

from nas.config.search_config import SearchConfig
from nas.tasks.base import SearchedTask
from nas.tasks.registry import MOVINET, TASKS
from search_space.space.choices import SearchSpace


def task_of(config: SearchConfig) -> SearchedTask:
    """Return the configured network family."""
    found: SearchedTask = config.task.own or TASKS[MOVINET](config)
    return found


def searched_space(config: SearchConfig) -> SearchSpace[Any]:
    """Return the configured space with all exact costs, those that the user brings included."""
    return task_of(config).space
