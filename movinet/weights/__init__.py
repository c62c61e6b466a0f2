"""Weights in files.

- `checkpoint`: reads and writes weights of this project and reads those of the TF Model Garden.
- `checkpoint_index`: checks the index of a TensorFlow checkpoint.
- `object_graph`, `release_names`: find the Model Garden's weights in its checkpoints.
- `h5_weights`: reads Keras files in a separate process.
- `archive`: unpacks a checkpoint from a tar archive.
"""
