"""Proposes the settings of a search, estimates what it takes and can show, and checks this machine.

- `gpus`: GPUs and CUDA libraries.
- `survey`: classes, clips and durations of the data, from a sample of the videos.
- `speed`: times real training steps.
- `plan`: puts these together, with warnings.
- `inspection`: looks at a user's videos; `proposal`: chooses the settings of a search on them.
- `doctor`: checks whether a search can run.
"""
