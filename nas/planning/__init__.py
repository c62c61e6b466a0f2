"""What comes before a search: what it takes and can show on this machine.

- `machine`: cores, memory and disk; `gpus`: GPUs and CUDA libraries.
- `survey`: classes, clips and durations of the data, from a sample of the videos.
- `speed`: times real training steps.
- `plan`: puts these together, with warnings.
"""
