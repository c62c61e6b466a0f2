"""A small random search for compound-scaling coefficients, on the proxy: MoViNets, arXiv 2103.11511, section 3.

Every draw doubles the expected cost of a random member per unit of phi (`search_space.scaling.expected_growth`), at the
size the family has. What draws differ in is measured where it can be: a few parents from the run's front, on the
smallest clip of the space so that frames and pixels have room to grow, are scaled by each draw to the same cost, four
times their own, and trained with the run's recipe. One doubling would not do: at the proxy's size, width is rounded to
what it was.

All draws are trained once. The best of these and the incumbent are then trained again with other seeds, and only
those trainings are compared: what chose a draw must not confirm it.

The record is a ledger of its own: one proposal for each network and repeat, and in the header what is tried.
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
FINALISTS = 3  # beside the incumbent
TIMES = 4  # a parent's cost: two units of phi
EQUAL = 0.05  # how nearly, as a share: rounding to 8 channels leaves small networks no more choice
MEMBERS = 300  # that the growth is solved on; it is checked on others, CHECKED of them
CHECKED = 2000
_DRAWS = 200  # of which as many as wanted must fit the clips
_STREAM = 0xC0EF  # sets the draws apart from the other uses of a run's seed


@dataclass(frozen=True)
class Settings:
    """What is tried.

    Attributes:
      draws: coefficients, the incumbent included.
      seeds: trainings of each finalist and parent, beyond the first.
      incumbent: the coefficients to beat.
      lift: from the proxy to full size.
      strides: of the blocks at full size; without any, those of the proxy stay.
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
        check_integer("seeds", self.seeds, 2, 1000)  # of one there is no interval


class _Trainer(Trainer):
    """Evaluates on the validation clips alone."""

    def final_results(self, candidate: Any, architecture: Architecture, kind: str) -> tuple[dict[str, float], None]:
        """On the validation split alone: something is chosen by it."""
        return self.evaluate(candidate, architecture, self.data.validation), None


def parents_of(front: Sequence[Architecture], space: SpaceConfig, incumbent: Coefficients) -> list[Architecture]:
    """Up to `PARENTS` networks from the cheaper half of a front (cheapest first), on the smallest clip of the space.

    Only those that the incumbent scales to `TIMES` their cost: rounding leaves some small networks no way there.

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
    """The parents at `TIMES` their cost; `InputError` where that is not met or the clips do not offer it."""
    found = []
    for parent in parents:
        target = TIMES * count(parent, space.classes).macs
        network = scale_to_macs(parent, target, space.classes, coefficients, tolerance=EQUAL).architecture
        if network.clip.frames > space.frames or network.clip.resolution > max(space.resolutions):
            raise InputError("clip", astuple(network.clip), "is more than the clips of the run offer")
        found.append(network)
    return found


def _drawn(
    parents: Sequence[Architecture], space: SpaceConfig, expected: ExpectedCost, rng: np.random.Generator, n: int
) -> Iterator[tuple[Coefficients, list[Architecture]]]:
    """n draws whose networks the clips offer."""
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
    raise InputError("draws", n, "more could not be made: the clips of the run leave too little room to grow")


def plan(config: SearchConfig, parents: Sequence[Architecture], settings: Settings) -> dict[str, Any]:
    """What is tried, as plain data: the header of the record."""
    space, rng = config.space, np.random.default_rng([config.seed, _STREAM])

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
    """What a plan is made of."""
    return {
        "settings": {**asdict(settings), "strides": list(settings.strides)},
        "search": search_config.to_dict(config),
        "parents": [architectures.to_dict(parent) for parent in parents],
        "times": TIMES,
    }


Training = tuple[Mapping[str, Any], str, int]  # architecture as plain data, its fingerprint, repeat


def _trainings(planned: Mapping[str, Any], measured: Mapping[tuple[str, int], float]) -> Iterator[Training]:
    """Every training in order, the finals as soon as all draws were measured."""
    draws, seeds = planned["draws"], planned["settings"]["seeds"]
    yield from _repeats(draws, (0,))
    if all((name, 0) in measured for each in draws for name in each["fingerprints"]):
        yield from _repeats([draws[i] for i in finalists(planned, measured)], range(1, seeds + 1))


def _repeats(draws: Sequence[Mapping[str, Any]], repeats: Sequence[int]) -> Iterator[Training]:
    for repeat in repeats:
        for each in draws:
            for network, name in zip(each["networks"], each["fingerprints"], strict=True):
                yield network, name, repeat


def finalists(planned: Mapping[str, Any], measured: Mapping[tuple[str, int], float]) -> list[int]:
    """The incumbent, which is draw 0, and the best draws by the mean of the statistic over the parents.

    Of draws that come to the same networks, only the first: it stands for all.
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
    """Trains everything in this process, or what an earlier call in the folder has left; returns the record.

    Args:
      config: the run's: space, clips, recipe and seed.
      parents: from `parents_of`.
      settings: what is tried.
      folder: of the record.
      tell: is told of every training in a line.

    Raises:
      InputError: the folder holds another such search or cannot be written; the data is at fault; no draws.
    """
    data = open_data(config.data, config.space)
    given = _given(config, parents, settings)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError("--out", str(folder), f"cannot be made: {error.strerror}") from None
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
        carry_out(config, writer, lambda proposal: next(trainer().train(proposal)), tell)
    return read(path)


def _check_same(ledger: Ledger, given: Mapping[str, Any], data_hash: str) -> None:
    header = ledger.header
    if data_hash != header.data_hash or any(header.config.get(name) != value for name, value in given.items()):
        raise InputError("--out", str(ledger.path.parent), "holds another search for coefficients; name another folder")


def carry_out(
    config: SearchConfig, writer: LedgerWriter, train: Callable[[Proposal], Event], tell: Callable[[str], None]
) -> None:
    """Has everything trained that the ledger's header plans and that is not in it yet."""
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
    """Draws that come to the same network share its training."""
    return next((each for each in _trainings(planned, measured) if each[1:] not in measured), None)


def _proposal(index: int, config: SearchConfig, training: Training) -> Proposal:
    data, fingerprint, repeat = training
    cost = vars(count(architectures.from_dict(data), config.space.classes))
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
    """(fingerprint, repeat) -> a metric of the validation clips; NaN where the training failed."""
    events: dict[int, Completed | Failed] = {**ledger.completed, **ledger.failed}
    trained = ledger.proposals
    return {(trained[i].fingerprint, trained[i].repeat): _metric(event, name) for i, event in events.items()}
