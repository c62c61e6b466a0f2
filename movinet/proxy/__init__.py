"""Fast training of many small candidates.

- `recipe`: training budget, learning rate and regularisation.
- `engine`: chooses between the two engines.
- `fused/`: the engine for one CPU core.
- `tensorflow_engine`: the engine of TensorFlow; `tape` compiles its layers.
- `supernet`: all architectures of a space with shared weights.
- `training_free_scores`: scores of untrained networks.
"""
