"""The one-shot search of the MoViNet paper (TuNAS).

- `tunas`: trains a supernet and its controllers.
- `controller`: the learned distribution over networks.
- `run`: the folder of a one-shot search.
- `hints`: prior scores by a supernet, from which another search can start.
"""
