"""Decides what to try, has it tried, keeps the record.

config        a search as plain data: YAML, presets
trials        proposals and what becomes of them
objective     names and directions; inside, everything is minimised
pareto        Pareto front, ranks, exact hypervolume of any objectives
hypervolume   hypervolume by accuracy and log cost: the one definition for displays, figures and scores
correct       which test clips a training classified correctly, packed
bands         early stopping among candidates of like cost
algorithms    ask/tell search algorithms, one file each
ledger        the append-only record; everything else is a function of it
run_lock      one process at a time in a run's folder
references    the published networks at the scale of a proxy
coefficients  a small random search for compound-scaling coefficients
search        the loop: from ledger and algorithm to the next proposal
trial         trains one proposal on the proxy task; where candidates reach TensorFlow
data_notes    what a run says of the videos it begins with
simulation    measures without training, and fails on demand; stands where `trial` does
attempts      hands proposals to workers that can die, and again if they do
serial        executes a search in this process
keras_tuner_adapter  the space for Keras Tuner's users; its oracles as algorithms
ray_executor  executes a search with Ray Tune
ray_scratch   where a Ray of our own keeps its logs, and the end of what a killed run left
cluster       a Ray of our own on this machine, or a cluster that is joined
node_data     how a worker on any node comes to the clips
mirror        the run's folder in object storage
run           a run's folder: started, carried on
scores        adds training-free scores to a benchmark table
reproduce     trains a network of a run again
table         a tabular benchmark: read, written, made of a ledger
table_cells   the cells of its CSV file
row_space     a space whose members are a table's rows
arena         search algorithms on a table, the same seeds for all
processes     independent jobs in processes of their own
race          search algorithms in real training, the same time for all
controller    the distribution over members that a one-shot search learns
one_shot      the paper's own search, on a supernet; reaches TensorFlow too
one_shot_run  its folder: started, carried on, retrained, a table ranked
array_file    the arrays of its checkpoint, read with care
progress      how far a search has come and how fast it gets on
display       what a search looks like while it runs
panel         the same on a terminal
json_lines    the same for programs
forgiving     a stream that may fail
tracking_config  where trials are shown besides, as a part of the configuration
tracking      shows them there
trial_parameters  what sets a trial apart there
event_files   in the files of TensorBoard
ray_trackers  in MLflow and Weights & Biases, by Ray Tune's integrations
"""
