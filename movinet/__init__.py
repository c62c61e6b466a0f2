"""Makes, trains, evaluates and exports one network. The only package that knows TensorFlow.

Commands: train, evaluate, convert, export, latency.

ops, stream_ops  the primitives of a MoViNet, each with its gradient: tensors in, tensors out; those of streams
layers           stem, inverted bottleneck and head composed of them, once, for every caller
model            keras.Model of any architecture in any variant, and of an ensemble
stream           a causal model frame after frame: states in and out, sessions
inference        the same for inference alone: norms folded into kernels
tape, proxy      layers compiled once for all widths; fast training of many small candidates
scores           what an untrained network says of how well it will learn
supernet         all members of a space on shared weights
checkpoint       weights in files, ours and the release's: release_names, by its record of its objects, object_graph
checkpoint_index whether the sizes in an index can be
h5_weights       files of Keras, read in a process of its own
archive          a checkpoint unpacked from one
evaluation       what an evaluation found, and its files; metrics: the arithmetic
config           experiments: the YAML files of the release and ours
data             videos, lists, records, digits and caches; neither TensorFlow nor Keras
input            batches of them: which frames, what is done to their pixels
training         steps, updates, checkpoints, devices
deploy           SavedModel, LiteRT, time and memory of a call
"""
