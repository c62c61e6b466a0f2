"""A small random search for compound-scaling coefficients, on the proxy: MoViNets, arXiv 2103.11511, section 3.

Every draw doubles the expected cost of a random architecture per unit of phi (`search_space.scaling.expected_growth`),
at the family's size. Draws are compared on a few parents from the run's front, on the smallest clip of the space so
that frames and pixels can grow. Each draw scales them to the same cost, four times their cost, and they are trained
with the run's recipe. One doubling is not enough: at the proxy's size, rounding would undo the change of width.

All draws are trained once. The best of these and the incumbent are then re-evaluated with new seeds, and only these
trainings are compared, because the selecting trainings are biased.

The record is a separate event log: one proposal for each network and repeat, and the plan in its header.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nas.config import search_config
from nas.config.search_config import SearchConfig
from nas.config.sections import EarlyStopping
from nas.evaluation.proxy_trainer import Trainer, open_data
from nas.loop.run_folder import LEDGER, versions
from nas.loop.run_lock import RunLock
from nas.loop.search import trial_seed
from nas.record.events import Completed, Event, Failed, Proposal
from nas.record.ledger import Header, Ledger, read
from nas.record.ledger_writer import LedgerWriter
from nas.record.objective import ACCURACY
from search_space import architecture as architectures
from search_space.architecture import Architecture, Clip
from search_space.base.checks import check_integer
from search_space.base.errors import InputError
from search_space.cost.counting import count
from search_space.scaling.compound import DEFAULT_COEFFICIENTS, UNSCALED, Coefficients, Factors, scale_to_macs
from search_space.scaling.expected_growth import PHIS, ExpectedCost, draw, random_members
from search_space.space.movinet import SpaceConfig

PARENTS = 2
FINALISTS = 3  # in addition to the incumbent
TIMES = 4  # a parent's cost: two units of phi
EQUAL = 0.05  # relative tolerance: rounding to 8 channels leaves small networks few choices
MEMBERS = 300  # architectures for solving the growth; it is checked on CHECKED others
CHECKED = 2000
_DRAWS = 200  # largest number of draws to find the wanted ones that fit the clips
_STREAM = 0xC0EF  # separates the draws from other uses of a run's seed


@dataclass(frozen=True)
class Settings:
    """Settings of the search for coefficients.

    Attributes:
      draws: number of coefficients, including the incumbent.
      seeds: re-evaluations of each selected draw and parent.
      incumbent: the coefficients to beat.
      lift: proxy-to-full scaling.
      strides: of the blocks at full size; empty keeps those of the proxy.
      classes: of the family.
    """

    draws: int = 12
    seeds: int = 2
    incumbent: Coefficients = DEFAULT_COEFFICIENTS
    lift: Factors = UNSCALED
    strides: tuple[int, ...] = ()
    classes: int = 600

    def __post_init__(self) -> None:
        check_integer("draws", self.draws, 2, 1000)
        check_integer("seeds", self.seeds, 2, 1000)  # a single one has no interval


class _Trainer(Trainer):
    """Evaluates on the validation clips only."""

    def final_results(self, candidate: Any, kind: str) -> tuple[dict[str, float], None]:
        """Return metrics on the validation split only, because they select coefficients."""
        return self.evaluate(candidate, "validation"), None


def parents_of(front: Sequence[Architecture], space: SpaceConfig, incumbent: Coefficients) -> list[Architecture]:
    """Up to `PARENTS` networks from the cheaper half of a front (cheapest first), on the smallest clip of the space.

    Only those that the incumbent can scale to `TIMES` their cost: for some small networks rounding prevents it.

    Raises:
      InputError: an empty front, or one without such a network.
    """
    if not front:
        raise InputError("front", 0, "networks are too few to scale: no trial was trained to the full budget")
    stride = max(space.frame_strides)
    clip = Clip(-(-space.frames // stride), min(space.resolutions), stride)
    small = dict.fromkeys(replace(each, clip=clip) for each in front[: -(-len(front) // 2)])
    fit = [each for each in small if _can_scale(each, incumbent, space)]
    if not fit:
        raise InputError(
            "front", len(small), f"networks of its cheaper half cannot be scaled to {TIMES} times their cost"
        )
    places = np.linspace(0, len(fit) - 1, PARENTS).round().astype(int)
    return list(dict.fromkeys(fit[place] for place in places))


def _can_scale(parent: Architecture, coefficients: Coefficients, space: SpaceConfig) -> bool:
    try:
        return bool(_scaled([parent], coefficients, space))
    except InputError:
        return False


def _scaled(parents: Sequence[Architecture], coefficients: Coefficients, space: SpaceConfig) -> list[Architecture]:
    """Return the parents at `TIMES` their cost; `InputError` if rounding or the clips prevent it."""
    found = []
    for parent in parents:
        target = TIMES * count(parent, space.classes).macs
        network = scale_to_macs(parent, target, space.classes, coefficients, tolerance=EQUAL).architecture
        if network.clip.frames > space.frames or network.clip.resolution > max(space.resolutions):
            raise InputError("clip", astuple(network.clip), "is larger than the clips of the run")
        found.append(network)
    return found


def _drawn(
    parents: Sequence[Architecture], space: SpaceConfig, expected: ExpectedCost, rng: np.random.Generator, n: int
) -> Iterator[tuple[Coefficients, list[Architecture]]]:
    """Yield n draws whose networks fit the clips."""
    for _ in range(_DRAWS):
        if not n:
            return
        coefficients = draw(rng, expected)
        try:
            networks = _scaled(parents, coefficients, space)
        except InputError:
            continue
        n -= 1
        yield coefficients, networks
    raise InputError("draws", n, "draws could be made, not more: the clips of the run are too small to grow")


def plan(config: SearchConfig, parents: Sequence[Architecture], settings: Settings) -> dict[str, Any]:
    """Return the plan as plain data: the header of the record."""
    space, rng = config.movinet_space, np.random.default_rng([config.seed, _STREAM])

    def expected(members: int) -> ExpectedCost:
        drawn = random_members(space, rng, members, config.limits)
        full = replace(drawn, strides=settings.strides or drawn.strides)
        return ExpectedCost(full, settings.classes, settings.lift)

    solved, checked = expected(MEMBERS), expected(CHECKED)
    incumbent = settings.incumbent, _scaled(parents, settings.incumbent, space)
    draws = [incumbent, *_drawn(parents, space, solved, rng, settings.draws - 1)]
    return {
        **_given(config, parents, settings),
        "phis": list(PHIS),
        "draws": [
            {
                "coefficients": asdict(coefficients),
                "steps": checked.steps(coefficients).tolist(),
                "networks": [architectures.to_dict(network) for network in networks],
                "fingerprints": [network.fingerprint for network in networks],
            }
            for coefficients, networks in draws
        ],
    }


def _given(config: SearchConfig, parents: Sequence[Architecture], settings: Settings) -> dict[str, Any]:
    """Return the inputs of a plan."""
    return {
        "settings": {**asdict(settings), "strides": list(settings.strides)},
        "search": search_config.to_dict(config),
        "parents": [architectures.to_dict(parent) for parent in parents],
        "times": TIMES,
    }


Training = tuple[Mapping[str, Any], str, int]  # architecture as plain data, its fingerprint, repeat


def _trainings(planned: Mapping[str, Any], measured: Mapping[tuple[str, int], float]) -> Iterator[Training]:
    """Yield every training in order, the re-evaluations once all draws were measured."""
    draws, seeds = planned["draws"], planned["settings"]["seeds"]
    yield from _repeats(draws, (0,))
    if all((name, 0) in measured for each in draws for name in each["fingerprints"]):
        yield from _repeats([draws[i] for i in selected_draws(planned, measured)], range(1, seeds + 1))


def _repeats(draws: Sequence[Mapping[str, Any]], repeats: Sequence[int]) -> Iterator[Training]:
    for repeat in repeats:
        for each in draws:
            for network, name in zip(each["networks"], each["fingerprints"], strict=True):
                yield network, name, repeat


def selected_draws(planned: Mapping[str, Any], measured: Mapping[tuple[str, int], float]) -> list[int]:
    """Return the incumbent, which is draw 0, and the best draws by the mean of the statistic over the parents.

    Of draws with the same networks, only the first is used.
    """
    draws: dict[tuple[str, ...], int] = {}
    for i, each in enumerate(planned["draws"]):
        draws.setdefault(tuple(each["fingerprints"]), i)
    means = {i: float(np.mean([measured[name, 0] for name in names])) for names, i in draws.items()}
    others = [i for i in means if i and math.isfinite(means[i])]
    return [0, *sorted(others, key=lambda i: -means[i])[:FINALISTS]]


def search(
    config: SearchConfig, parents: Sequence[Architecture], settings: Settings, folder: Path, tell: Callable[[str], None]
) -> Ledger:
    """Train everything in this process, or the rest after an earlier call in the folder; return the record.

    Args:
      config: configuration of the run: space, clips, recipe and seed.
      parents: from `parents_of`.
      settings: of the search.
      folder: of the record.
      tell: receives a line for every training.

    Raises:
      InputError: the folder has another such search or cannot be written, the data is invalid, or no draws.
    """
    data = open_data(config.data, config.movinet_space)
    given = _given(config, parents, settings)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError("--out", str(folder), f"cannot be created: {error.strerror}") from None
    with ExitStack() as stack:
        stack.enter_context(RunLock(folder))
        path = folder / LEDGER
        if path.exists():
            _check_same(read(path), given, data.content_hash)
            writer = LedgerWriter.open_for_append(path)
        else:
            header = Header(plan(config, parents, settings), versions(), config.seed, data.content_hash)
            writer = LedgerWriter.create(path, header)
        stack.enter_context(writer)

        @functools.cache
        def trainer() -> _Trainer:
            return _Trainer(replace(config, early_stopping=EarlyStopping(())), data)

        # The first event of a training is its last: there are no rungs.
        train_all(config, writer, lambda proposal: next(trainer().train(proposal)), tell)
    return read(path)


def _check_same(ledger: Ledger, given: Mapping[str, Any], data_hash: str) -> None:
    header = ledger.header
    if data_hash != header.data_hash or any(header.config.get(name) != value for name, value in given.items()):
        raise InputError("--out", str(ledger.path.parent), "contains another search; choose another folder")


def train_all(
    config: SearchConfig, writer: LedgerWriter, train: Callable[[Proposal], Event], tell: Callable[[str], None]
) -> None:
    """Train everything planned in the header of the event log that is not in the log yet."""
    ledger = read(writer.path)
    planned, measured = ledger.header.config, statistics(ledger, config.statistic)
    proposals = {(proposal.fingerprint, proposal.repeat): proposal for proposal in ledger.proposals.values()}
    while (training := _next(planned, measured)) is not None:
        key = training[1:]
        if key not in proposals:
            proposals[key] = _proposal(len(proposals), config, training)
            writer.append(proposals[key])
        event = train(proposals[key])
        writer.append(event)
        measured[key] = _metric(event, config.statistic)
        accuracy = _metric(event, ACCURACY.name)
        tell(f"training {len(measured)}: network {key[0]}, repeat {key[1]}, accuracy {accuracy:.3f}")


def _next(planned: Mapping[str, Any], measured: Mapping[tuple[str, int], float]) -> Training | None:
    """Return the next training; draws with the same network share it."""
    return next((each for each in _trainings(planned, measured) if each[1:] not in measured), None)


def _proposal(index: int, config: SearchConfig, training: Training) -> Proposal:
    data, fingerprint, repeat = training
    cost = vars(count(architectures.from_dict(data), config.movinet_space.classes))
    return Proposal(
        index=index,
        kind="reference",
        genotype=None,
        architecture=data,
        fingerprint=fingerprint,
        repeat=repeat,
        seed=trial_seed(config.seed, fingerprint, repeat),
        cost=cost,
    )


def _metric(event: object, name: str) -> float:
    return event.metrics[name] if isinstance(event, Completed) else math.nan


def statistics(ledger: Ledger, name: str) -> dict[tuple[str, int], float]:
    """Return a validation metric by (fingerprint, repeat); NaN if the training failed."""
    events: dict[int, Completed | Failed] = {**ledger.completed, **ledger.failed}
    trained = ledger.proposals
    return {(trained[i].fingerprint, trained[i].repeat): _metric(event, name) for i, event in events.items()}
