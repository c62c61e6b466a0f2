"""Makes, trains, evaluates and exports one network. The only package that knows TensorFlow.

ops      the primitives of a MoViNet, each with its gradient: tensors in, tensors out
layers   stem, inverted bottleneck and head composed of them, once, for every caller
model    keras.Model of any architecture, and of an ensemble
tape     a layer compiled once for all widths, forward and backward
proxy    fast training of many small candidates, one after another
data     clips: the embedded moving digits, folders of video files, the shared cache
"""
