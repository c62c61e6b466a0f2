"""The one-shot search of the MoViNet paper (TuNAS).

- `tunas`: trains a supernet and its controllers.
- `controller`: the distribution over networks that a search learns.
- `run`: the folder of a one-shot search.
- `hints`: measurements by a supernet from which another search can start.
"""
