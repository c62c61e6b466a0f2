"""Batches of clips for training and evaluation, as tf.data.

batches          batches of any source; an example is a function of the seed and its number
examples         video and frames of an example
record_examples  the same for TFRecords and TensorFlow Datasets
record_clips     clips of TFRecords for searches
records          writes TFRecords in the TF Model Garden's format
augment          augmentation of a clip; autoaugment and autoaugment_policies
"""
