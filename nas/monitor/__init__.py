"""Display of a running search.

- `display`: lines or a live panel; `panel` draws it; `progress` has its numbers.
- `json_lines`: events as JSON for programs.
- `trackers`: TensorBoard by `event_file`; MLflow and Weights & Biases by `ray_trackers`.
- `trial_parameters`: the name and the parameters of a trial there.
- `unbreakable_stream`: an output stream that ignores write errors such as a closed pipe.
"""
