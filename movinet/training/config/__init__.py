"""Experiment files of the TF Model Garden and of this project, as typed and validated values.

experiment       a whole experiment; its data and losses
model_config     network or ensemble
optimizer_config optimizer, schedule and warm-up
trainer_config   steps, intervals, checkpoints; devices
experiment_file  reads files and overrides over the defaults, and writes them
fields           keys of the Model Garden that are ignored or refused, with the reason
presets          experiments on the bundled digits
"""
