"""Networks as other programs run them, and what a call costs.

saved_model    functions and SavedModels of clips and streams
litert         LiteRT files: float32, float16, int8
interpreter    runs a LiteRT file; numpy and ai-edge-litert only
sample_clips   real clips, to find ranges with and to compare on
network_flags  which network a command is about
timing         one measurement of time and memory, in a process of its own
latency_forms  a network in each form that is measured
"""
