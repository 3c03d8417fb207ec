"""Say in one line what would fit where a run does not, or caution about a run that fits by very little."""

from frontier.plan import search
from frontier.plan.planner import Planner, micro_batches
from frontier.request_types import TrainingRequest
from frontier.table_types import PlanRow

# The most that torch's CUDA allocator was seen to keep beyond what is allocated, as a share of that (docs/planner.md).
_KEPT = 0.06
# Tokens: the shortest length that is proposed.
_SHORTEST = 32


def advise(planner: Planner, request: TrainingRequest, row: PlanRow) -> str | None:
    """Return a line on a run's row: what would fit if the run does not, a caution if it hardly does; None otherwise."""
    run = request["run"].rsplit("-s", 1)[0]
    if row["fits"] is not False:
        return _caution(planner, run, row) if row["fits"] and planner.device.is_cuda else None
    if row["largest_batch_that_fits"]:
        examples, _ = micro_batches(request)
        return f"{run} does not fit at batch {examples}; {row['largest_batch_that_fits']} does"
    nothing = f"{run} does not fit at any batch, length or rank"
    if planner.static_gib(request) > planner.limit_gib:
        return f"{nothing}: its base alone takes {row['weights_gib']:.1f} GiB of {planner.limit_gib:.1f}"
    return (
        _uncaptured(planner, request, run)
        or _shorter(planner, request, run)
        or _of_smaller_rank(planner, request, run)
        or f"{nothing}: it holds {planner.limit_gib:.1f} GiB and more at the least"
    )


def _caution(planner: Planner, run: str, row: PlanRow) -> str | None:
    """Return a line if a run on a card fits by less than what the allocator may keep; else None."""
    kept = _KEPT * row["predicted_peak_gib"]
    spare = planner.limit_gib - row["predicted_peak_gib"] - row["overhead_gib"]
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
