"""Say in one line what would fit where a run does not, what a larger micro-batch would gain, or what to beware of."""

from frontier.plan import batches, search
from frontier.plan.batches import micro_batches
from frontier.plan.judging import Judging
from frontier.plan.peak import KEPT_SHARE
from frontier.plan.planner import Planner
from frontier.request_types import TrainingRequest
from frontier.table_types import PlanRow

# Tokens: the shortest length that is proposed.
_SHORTEST = 32
# How many times as fast a step must become before a line says so: a plan's time is not known to a percent.
_LEAST_GAIN = 1.05


def advise(planner: Planner, request: TrainingRequest, row: PlanRow) -> str | None:
    """Return a line on a run's row: what would fit if the run does not, or what is to be gained or feared if it does.

    None where there is nothing to say.
    """
    run = _configuration(request)
    if row["fits"] is not False:
        cautious = _caution(planner, run, row) if row["fits"] and planner.device.is_cuda else None
        return cautious or _faster(planner, request, row)
    if row["largest_batch_that_fits"]:
        examples, _ = micro_batches(request)
        micro = row["best_micro_batch_size"]
        gib, seconds = _step(planner, request, micro)
        time = f", in steps of {seconds:.2f} s" if seconds else ""
        return (
            f"{run} does not fit at batch {examples}; {row['largest_batch_that_fits']} does: "
            f"with micro_batch_size: {micro} it holds {gib:.2f} GiB{time}"
        )
    nothing = f"{run} does not fit at any batch, length or rank"
    if planner.static_gib(request) > planner.limit_gib:
        return f"{nothing}: its base alone takes {row['weights_gib']:.1f} GiB of {planner.limit_gib:.1f}"
    return (
        _uncaptured(planner, request, run)
        or _shorter(planner, request, run)
        or _of_smaller_rank(planner, request, run)
        or f"{nothing}: it holds {planner.limit_gib:.1f} GiB and more at the least"
    )


def advise_judging(judging: Judging, request: TrainingRequest, row: PlanRow) -> list[str]:
    """Return a line for each of evaluation and accuracy that does not fit where the training does, with what would."""
    limit, run = judging.planner.limit_gib, _configuration(request)
    if limit is None or row["fits"] is False:
        return []
    lines = []
    if (held := row["evaluation_gib"]) and held > limit:
        size = judging.evaluation["batch_size"]
        smaller = search.halved(lambda one: judging.losses(request, one).gib, limit, size, least=1)
        line = f"{run} trains, but its evaluation holds {held:.2f} GiB"
        if smaller:
            lines.append(f"{line}; with evaluation.batch_size: {smaller} it fits")
        elif (half := judging.losses(request, 1, "auto").gib) <= limit:
            lines.append(f"{line}; with batch_size: 1 and compute_dtype: auto of evaluation it fits, at {half:.2f}")
        else:
            lines.append(f"{line}, and does not fit at any batch: its adapter could not be judged on this card")
    if (held := row["accuracy_gib"]) and held > limit:
        lines.append(f"{run} trains, but its accuracy holds {held:.2f} GiB; a smaller accuracy.batch_size needs less")
    return lines


def best_micro_batch(planner: Planner, request: TrainingRequest, largest: int | None) -> int | None:
    """Return what to set micro_batch_size to, where the `largest` batch that fits is known; None where none fits.

    It is the most examples at a time that divide a step's and leave what the allocator may keep, or else fit at all.
    """
    batch, kept = request["training"]["batch_size"], KEPT_SHARE * planner.device.is_cuda
    fitting = [size for size in range(min(batch, largest or 0), 0, -1) if batch % size == 0]
    for size in fitting:
        gib, _ = _step(planner, request, size)
        if gib + kept * (gib - planner.context_gib) <= planner.limit_gib:
            return size
    return fitting[0] if fitting else None


def _configuration(request: TrainingRequest) -> str:
    return request["run"].rsplit("-s", 1)[0]


def _step(planner: Planner, request: TrainingRequest, micro: int) -> tuple[float, float | None]:
    """Return the GiB that a run holds, and the seconds of its steps, with so many examples at a time."""
    changed = request | {"training": request["training"] | {"micro_batch_size": micro}}
    drawn = batches.draw(planner.rows, changed)
    surface, typical = planner.surface(request), batches.lengths(batches.typical(drawn))
    gib = planner.context_gib + surface.need_of(batches.largest(drawn), planner.lengths, micro, request["rank"])
    if not planner.rates:
        return gib, None
    passes = request["training"]["batch_size"] // micro
    mean = round(sum(length**2 for length in typical) / sum(typical))
    return gib, surface.time(sum(typical), mean, request["rank"], passes, planner.rates).seconds


def _faster(planner: Planner, request: TrainingRequest, row: PlanRow) -> str | None:
    """Return a line on the micro-batch that makes a run's steps faster than its own does; None where none does."""
    (examples, _), micro = micro_batches(request), row["best_micro_batch_size"]
    before = row["predicted_seconds_per_step"]
    if not before or not micro or micro <= examples:
        return None
    (gib, seconds), (_, own) = _step(planner, request, micro), _step(planner, request, examples)
    if not seconds or not own or own < _LEAST_GAIN * seconds:
        return None
    times = f"{own / seconds:.1f} times as fast: {before * seconds / own:.2f} s in the place of {before:.2f}"
    return f"{_configuration(request)} with micro_batch_size: {micro} holds {gib:.2f} GiB and its steps are {times}"


def _caution(planner: Planner, run: str, row: PlanRow) -> str | None:
    """Return a line if a run on a card fits by less than what the allocator may keep; else None."""
    kept = KEPT_SHARE * row["allocated_gib"]
    spare = planner.limit_gib - row["predicted_peak_gib"]
    more = f"the allocator may keep up to {kept:.2f} more than it is asked for"
    return f"{run} fits with {spare:.2f} GiB to spare, and {more}" if spare < kept else None


def _uncaptured(planner: Planner, request: TrainingRequest, run: str) -> str | None:
    """Return a line on the batch at which the run fits without CUDA graphs; None if it fits at none."""
    plain = request | {"training": request["training"] | {"cuda_graphs": False}}
    if not planner.peak(*planner.with_batch(request, 1)).graphs or not (batch := planner.largest_batch(plain)):
        return None
    return f"{run} does not fit at any batch while its steps are recorded; with cuda_graphs: false batch {batch} does"


def _shorter(planner: Planner, request: TrainingRequest, run: str) -> str | None:
    """Return a line on the length to which examples must be cut to fit at batch 1; None if no length suffices."""

    def need(length: int) -> float:
        return planner.need_gib(*planner.with_batch(request, 1, length))

    longest = max(planner.lengths)
    length = search.halved(need, planner.limit_gib, longest, least=_SHORTEST)
    return None if length is None else f"{run} does not fit at batch 1 and length {longest}; length {length} does"


def _of_smaller_rank(planner: Planner, request: TrainingRequest, run: str) -> str | None:
    """Return a line on the smaller rank at which the run fits at batch 1; None if it fits at none."""

    def need(rank: int) -> float:
        return planner.need_gib(*planner.with_batch(request | {"rank": rank}, 1))

    rank = search.halved(need, planner.limit_gib, request["rank"], least=1)
    return None if rank is None else f"{run} does not fit at any batch; rank {rank} does at batch 1"
