"""Makes, trains, evaluates and exports one network. The only package that knows TensorFlow.

ops      the primitives of a MoViNet, each with its gradient: tensors in, tensors out
layers   stem, inverted bottleneck and head composed of them, once, for every caller
model    keras.Model of any architecture, and of an ensemble
tape     a layer compiled once for all widths, forward and backward
proxy    fast training of many small candidates, one after another
input    batches of clips from any source, for training and evaluation; `examples`, `record_examples`: which video and
         frames an example is; `augment`, `autoaugment` and its `autoaugment_policies`: what is done to its pixels
train    the release's command line: `experiment_file` reads an experiment (`experiment`, `model_config`,
         `optimizer_config`, `trainer_config`; their `fields`), `loop` runs it, `trainer` does the steps of a `task`
         by an `optimizer`'s updates on the devices of a `strategy`, `validation` evaluates in between
evaluate a trained network by class, clips, crops and frames; `evaluation`: its outcome; `metrics`: the arithmetic
checkpoint  weights in files, ours and the release's: `release_names`, by its record of its objects, `object_graph`
export   SavedModels (`saved_model`) and LiteRT files (`litert`; `interpreter` runs them), checked before they appear
latency  time and memory of every form, by `timing` in processes of their own; `network_flags`: which network
data     clips: the embedded moving digits, folders of video files, the shared cache
"""
