"""Training and evaluation by an experiment.

- `config/`: experiments as YAML files.
- `input/`: batches of clips.
- `loop`: from the first step, or the last checkpoint, to the end.
- `trainer`: training steps on all devices.
- `task`: the model and its loss.
- `optimizer`: learning rates and updates of weights.
- `strategy`: the devices.
- `validation`: evaluation during training.
- `metrics`: accuracies, loss and confusion from probabilities.
- `evaluation_record`: the result of an evaluation and its files.
"""
