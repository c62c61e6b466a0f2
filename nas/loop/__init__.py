"""The search loop and the folder of a run.

- `search`: proposes trials and records their results.
- `algorithm`: creates and checks the algorithm and the references of a configuration.
- `early_stopping`: stops trials among candidates of similar cost.
- `retries`: trains a trial again if its worker died.
- `fixed_networks`: networks that are trained instead of a search.
- `run_folder`: starts and resumes a run; `run_lock` keeps other processes out.
- `signals`: handling of interrupts.
- `data_notes`: lines about the videos of a run.
"""
