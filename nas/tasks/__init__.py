"""Network families that a search can search.

- `base`: the interface that a family of your own derives from.
- `own`: a family of your own as the search sees it: its space, exact costs, event log entries and trainings.
- `movinet`: the bundled family, MoViNets.
- `references`: the published MoViNets at the scale of a search.
- `registry`: families by name.
"""
