"""Network families by the name a configuration calls them."""

from __future__ import annotations

import inspect
from typing import Any

from nas.tasks.base import Task
from search_space.base.catalogue import Catalogue

MOVINET = "movinet"

TASKS: Catalogue[Any] = Catalogue(
    "movinet_nas.tasks",
    {MOVINET: "nas.tasks.movinet:MoViNets"},
    "must be a class derived from Task that defines costs, start, step and logits",
    lambda kind: isinstance(kind, type) and issubclass(kind, Task) and not inspect.isabstract(kind),
)
