"""The network: its mathematics and its Keras models.

- `specs`: weights of each kind of layer and their initial values.
- `area`: resizing of frames.
- `ops`, `norm_ops`, `depthwise_ops`, `stream_ops`: primitives with their gradients.
- `layers`: stem, inverted bottleneck and head.
- `keras_layers`, `keras_model`: a Keras model of any architecture.
- `stream`: runs a causal model frame by frame.
- `inference`: a model for inference only, with folded norms.
"""
