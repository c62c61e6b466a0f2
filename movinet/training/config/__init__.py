"""Experiments: the YAML files of the release and ours, as typed and checked values.

experiment       all of an experiment; its data and losses
model_config     which network, or ensemble
optimizer_config optimizer, schedule and warm-up
trainer_config   steps, intervals, checkpoints; the machine
experiment_file  files and overrides read over the defaults, and written
fields           every key of the release: a field, or ignored or refused for a reason
presets          experiments on the embedded digits
"""
