"""Python API: search for networks, read the results, and build, train, evaluate, stream and export a network.

    import movinet_nas as mn

    run = mn.search({"extends": "tiny", "trials": 4}, "runs/first")
    run.front()

Names in `__all__` are public: they are typed, documented in docs/reference/python.md and change only with a note in
CHANGELOG.md. All other modules and names of the project may change at any time. Importing this package loads neither
TensorFlow nor Ray; the functions that need them import them.
"""

from movinet_nas.networks import build, evaluate, export, load_model, stream, train
from movinet_nas.runs import Run, load_run, resume, search
from nas.config.search_config import SearchConfig
from search_space.architecture import Architecture, Block, Clip, Head, Layer, Stem
from search_space.base.errors import InputError
from search_space.network import Network
from search_space.network import load as load_network
from search_space.published import published
from search_space.variant import BASE, STREAM, Variant, released_stream

__all__ = [
    "BASE",
    "STREAM",
    "Architecture",
    "Block",
    "Clip",
    "Head",
    "InputError",
    "Layer",
    "Network",
    "Run",
    "SearchConfig",
    "Stem",
    "Variant",
    "build",
    "evaluate",
    "export",
    "load_model",
    "load_network",
    "load_run",
    "published",
    "released_stream",
    "resume",
    "search",
    "stream",
    "train",
]
