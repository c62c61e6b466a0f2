"""Makes, trains, evaluates and exports one network. No other package knows TensorFlow.

The commands are `train`, `evaluate`, `convert`, `export` and `latency`.

- `model/`: the network itself.
- `proxy/`: fast training of many small candidates.
- `weights/`: weights in files.
- `data/`: videos and clips.
- `training/`: training and evaluation by an experiment.
- `deploy/`: exported models, and their time and memory.
"""
