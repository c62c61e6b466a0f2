"""The search loop and the folder of a run.

- `search`: proposes trials and records what becomes of them.
- `algorithm`: makes and checks the algorithm and the references that a configuration names.
- `early_stopping`: stops trials among candidates of similar cost.
- `retries`: trains a trial again if its worker died.
- `references`: the published networks at the scale of a proxy.
- `fixed_networks`: networks that are trained in place of a search.
- `run_folder`: starts and resumes a run; `run_lock` keeps other processes out.
- `signals`: what a run does when it is interrupted.
- `data_notes`: what a run prints about its videos.
"""
