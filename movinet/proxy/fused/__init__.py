"""Training engine of search candidates on one CPU core, in numba: tensors inside a layer stay in the cache.

`vectors`, `kernels` and `bottleneck_kernels` hold the compiled loops, `geometry` the offsets of a depthwise
convolution. `layers` has one layer of a network, `optimizer` a step of its weights, `network` a network in training and
in evaluation. Frames are `B T H W C`, float32, contiguous.

The mathematics is that of `movinet.model.layers`, implemented a second time for speed. A clip passes through expansion,
swish, depthwise convolution, squeeze-excite and projection while it is in the cache; TensorFlow writes some 40
intermediate tensors of a whole batch to memory. `tests/test_fused.py` tests that both are equal.
"""
