"""The family A0 to A6 of a run.

- `growth`: scales parents to the FLOPs of A0 to A5.
- `parents`: compares candidates for the parents.
- `parent_variants`: compares trained variants of the best candidates.
- `emit`: writes the family; `experiment` writes a network as an experiment.
- `refinement`: a search around one model of the family.
- `beside_published`: the family compared with the published networks.
"""
