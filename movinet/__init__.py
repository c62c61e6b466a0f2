"""Build, train, evaluate and export one network. No other package imports TensorFlow, except where it calls this one.

The commands are `train`, `evaluate`, `convert`, `export` and `latency`.

- `model/`: the network itself.
- `proxy/`: fast training of many small candidates.
- `weights/`: checkpoints.
- `data/`: videos and clips.
- `training/`: training and evaluation by an experiment file.
- `deploy/`: exported models; their latency and memory.
"""
