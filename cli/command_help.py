"""Help texts of `run_search.py COMMAND --help` besides the options: a line, a paragraph and examples per command."""

from __future__ import annotations

from dataclasses import dataclass

TABLE = "results/published/movinet_bench/movinet_bench.csv"


@dataclass(frozen=True)
class Help:
    """Help of a command: a line for the list, a paragraph, and examples with explanations."""

    line: str
    paragraph: str
    examples: tuple[tuple[str, str], ...]


TOP = (
    ("", "the default search, end to end, into results/runs/"),
    ("search tiny --out results/runs/first", "a smoke test of one minute"),
    ("search --resume results/runs/first", "resume after an interruption"),
    ("scale results/runs/first --target a0=1e9 --target a1=5e9", "the family for other targets"),
    ("describe a0 --json", "a published network, or a file"),
)

COMMANDS = {
    "init": Help(
        "look at your videos and this machine, and propose a search",
        "Looks at the classes, durations, frame rates and faults of the videos and at videos that look alike, times "
        "real training steps, and writes the configuration of a search that fits the hours: clip length and strides, "
        "resolutions, cost limit, steps, trials and the family. Videos that look alike are kept in one split, by a "
        "list that is written beside it. docs/how_to/search/propose.md lists how each setting is chosen.",
        (
            ("init my_videos --hours 2", "my_search.yaml, for two hours, with A0 to A2 as the family"),
            (
                "init my_videos.csv --hours 0.3 --target 3e8 --out small.yaml",
                "a list; a network of 300 M multiply-adds",
            ),
        ),
    ),
    "search": Help(
        "search, then tables, figures and family",
        "Proposes networks, trains each for a small budget, and logs every event (ledger.jsonl). When all candidates "
        "are done, the networks of the Pareto front are re-evaluated with new seeds, and tables, figures and the "
        "configs of the family are written into the folder of the run. ctrl-C stops it after the running trials; "
        "--resume continues it.",
        (
            ("search", "the preset default into a new folder of results/runs"),
            ("search tiny --out results/runs/first", "smoke test: one minute, too short to learn anything"),
            ("search my_search.yaml --workers 8 --seed 1", "a configuration of your own"),
            ("search my_search.yaml --plan", "time, memory, disk and what the clips can show; trains nothing"),
            ("search --resume results/runs/first", "resume after an interruption, with the settings of the run"),
        ),
    ),
    "one-shot": Help(
        "the paper's own search: a supernet, its controllers, retraining",
        "Trains one supernet with the shared weights of all architectures of the space, and for each cost target a "
        "controller that learns which architectures are good. The selected architectures are trained from scratch, as "
        "an ordinary run in OUT/retrained. docs/how_to/search/one_shot.md has the configuration.",
        (
            ("one-shot", "the preset one_shot: three cost targets on the bundled task"),
            ("one-shot my_search.yaml --out results/runs/one_shot", "a configuration of your own"),
            (f"one-shot --resume results/runs/one_shot --rank {TABLE}", "rank the rows of a table by the supernet"),
            ("one-shot --resume results/runs/one_shot --hints 400", "score architectures, for search --hints"),
        ),
    ),
    "plot": Help(
        "tables and figures of a run",
        "Writes trials.csv, front.csv, comparison.json, front.png and hypervolume.png of a run into its folder. "
        "The run may be unfinished or still running.",
        (
            ("plot results/runs/first", "into results/runs/first"),
            ("plot results/published/frontier", "the published run"),
        ),
    ),
    "report": Help(
        "a run as one HTML page",
        "Writes a self-contained page: the Pareto front with every candidate, the relation of choices to accuracy with "
        "intervals, hypervolume, reliability, the family with all decisions, costs, failures, and commands to "
        "reproduce the run. The run may be unfinished or still running; a search writes the page at its end. "
        "docs/how_to/search/report.md explains the panels.",
        (
            ("report results/runs/first", "results/runs/first/report.html"),
            ("report results/published/frontier --out results/runs/frontier.html", "the published run"),
        ),
    ),
    "scale": Help(
        "the family of a run, also to other targets",
        "Chooses parents from the front of a run and scales each to its target by compound scaling, with exact "
        "costs. Writes a config, an experiment and the reason for every step. With --refine it writes the "
        "configuration of a search around one model of the family instead. docs/how_to/search/family.md explains it.",
        (
            ("scale results/runs/first", "A0 to A6, by the run's configuration"),
            ("scale results/runs/first --target a0=1e9 --target a1=5e9 --out my_family", "other targets"),
            ("scale results/runs/first --target a2=3e6 --refine a2 --out around_a2.yaml", "a search around one model"),
        ),
    ),
    "coefficients": Help(
        "search the scaling coefficients of a run's family",
        "Draws proportions of depth, width, resolution and frames whose cost doubles with each step, scales "
        "networks of the run's front by each, and trains them. The current coefficients are replaced only if "
        "another draw is better beyond the noise of seeds; `scale` uses the selected ones. The same command "
        "resumes it.",
        (
            ("coefficients results/runs/first", "12 draws, the best re-evaluated with 2 seeds"),
            ("coefficients results/runs/first --draws 24 --seeds 4", "more of both"),
        ),
    ),
    "describe": Help(
        "layers and exact costs of a network",
        "Lists the operations of a published network or of a file, with the shape, multiply-adds and parameters of "
        "each, and the exact costs of the whole. Nothing is built or trained; one multiply-add counts as one FLOP.",
        (
            ("describe a0", "a published network"),
            ("describe a3 --stream --json", "its published stream variant, as JSON"),
            ("describe results/published/frontier/configs/movinet_a0.yaml --classes 12", "a file, with other classes"),
        ),
    ),
    "reliability": Help(
        "reliability of statistics and proxy rank correlation",
        "Estimates for each statistic of a training the share of the variance between networks of equal cost that is "
        "due to the networks and not to the seeds, and recommends the statistic to search by. Then compares early "
        "measurements, costs and training-free scores with the accuracy of other seeds, and reports which choices "
        "explain the variance. All values have intervals. docs/reference/proxy_statistics.md explains the numbers.",
        (
            (f"reliability {TABLE}", "on a benchmark table"),
            ("reliability results/runs/first --bins 3 --out results/runs/reliability", "on a run, with files"),
        ),
    ),
    "score": Help(
        "add training-free scores to a benchmark table",
        "Adds NASWOT, gradient norm and synflow to a benchmark table that holds its architectures. The same command "
        "resumes where it was interrupted.",
        (
            (f"score bench {TABLE} --out scored.csv", "all rows of MoViNet-Bench"),
            ("score my_search.yaml my_table.csv --out scored.csv --seeds 4", "averaged over more initialisations"),
        ),
    ),
    "tabulate": Help(
        "a run as a benchmark table",
        "Writes the search trials of a run as a table for the commands `compare` and `reliability`. "
        "docs/reference/benchmark_tables.md has its format.",
        (
            ("tabulate results/runs/bench --out my_table.csv", "of a run that trained every architecture of a space"),
            ("tabulate results/runs/first --out my_table.csv.gz --json", "compressed; with a summary as JSON"),
        ),
    ),
    "compare": Help(
        "compare search algorithms, on a table or in training",
        "On a benchmark table every algorithm runs many times within minutes, with the same noise. With a "
        "configuration, algorithms search in real training at equal time. In both cases results have intervals over "
        "seeds, and the same command resumes it. docs/how_to/search/compare_algorithms.md has the rules.",
        (
            (f"compare {TABLE} --out results/runs/arena", "all algorithms on a table"),
            (
                "compare my_table.csv --algorithms nsga2,frontier_search --seeds 5 --out results/runs/mine",
                "two of them",
            ),
            (
                "compare default --minutes 20 --workers 2 --out results/runs/race",
                "in real training, 20 minutes each",
            ),
        ),
    ),
    "compare-runs": Help(
        "compare the pooled fronts of several runs, with intervals",
        "Compares the searched networks of runs with their published networks, or with those of a second group of "
        "runs: hypervolume of test accuracy, and points of accuracy at the cost of each published network. Intervals "
        "resample runs, seeds and test clips. Runs must have the same clips and training recipe.",
        (
            ("compare-runs results/runs/seed0 results/runs/seed1", "against the published networks"),
            ("compare-runs results/runs/seed* --against results/runs/random*", "against runs of random search"),
        ),
    ),
    "reproduce": Help(
        "retrain a network of a run and compare",
        "Retrains a recorded network, first with the recorded seed, then with others, and reports whether the "
        "result is within the spread between seeds. The run is not changed.",
        (
            ("reproduce results/runs/first 3", "a trial, by its index"),
            ("reproduce results/runs/first a2 --repeats 3", "a published network, with three new seeds"),
        ),
    ),
    "validate": Help(
        "validate a run with longer trainings and larger networks",
        "Trains the selected and the published networks of a finished run for 8 times the steps, with new seeds, and "
        "also scaled to 4 times their FLOPs. Reports how well the search ranked them, and the lead of the searched "
        "over the published networks, with intervals. Writes into RUN/validation-8x, which is an ordinary run. "
        "docs/how_to/search/check_results.md explains the results.",
        (
            ("validate results/runs/first", "8 times the steps, then 4 times the FLOPs, 3 seeds each"),
            ("validate results/runs/first --resume", "resume after an interruption"),
            ("validate results/runs/first --steps-factor 16 --scale 1 --repeats 5", "longer, only at the run's scale"),
        ),
    ),
    "schema": Help(
        "JSON Schema or reference page of configuration files",
        "Prints the JSON Schema of searches, spaces, families or training experiments, so that an editor completes "
        "and checks the YAML. With --markdown: a table of all keys with types, defaults and meanings.",
        (
            (
                "schema search > search.schema.json",
                "name it in the first line of a YAML file, docs/how_to/search/space_and_budget.md",
            ),
            ("schema training --markdown", "all keys of a training experiment"),
        ),
    ),
    "doctor": Help(
        "check whether a search can run on this machine",
        "Checks memory, disk, video codecs, the engine that trains on CPU cores, TensorFlow with its GPUs and CUDA "
        "libraries, Ray and the browser, and prints a line for each: ok, or the problem and its remedy. Exit code 1 "
        "if a search could not run.",
        (("doctor", "all checks, some twenty seconds"), ("doctor --json", "the same, as data")),
    ),
    "completion": Help(
        "tab completion: a script for bash, zsh or fish",
        "Prints a script with which a shell completes commands, options and preset names of movinet-nas, the "
        "installed name of the program. Store it where the shell looks for such scripts, or evaluate it.",
        (
            ('completion bash > "$HOME/.local/share/bash-completion/completions/movinet-nas"', "bash, from now on"),
            ("completion zsh > /usr/local/share/zsh/site-functions/_movinet-nas", "zsh, a folder of its fpath"),
            ("completion fish > ~/.config/fish/completions/movinet-nas.fish", "fish"),
        ),
    ),
}
