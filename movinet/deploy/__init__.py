"""Exported models, and their latency and memory.

saved_model    functions and SavedModels of clips and streams
litert         LiteRT files: float32, float16, int8
interpreter    runs a LiteRT file; imports only numpy and ai-edge-litert
sample_clips   clips of real data, for int8 calibration and for comparison
network_flags  flags that select a network
timing         one measurement of time and memory, in a separate process
latency_forms  the measured forms of a network
"""
