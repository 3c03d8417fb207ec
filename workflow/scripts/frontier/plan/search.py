"""Find the largest size that fits with few predictions, as memory is nearly a straight line over the size."""

from collections.abc import Callable

# The most predictions after the first.
_TRIES = 7


def largest(need: Callable[[int], float], limit: float, start: int, most: int) -> int:
    """Return the largest whole number up to `most` whose need stays within the limit; 0 if not even 1 does.

    The need rises with the number, nearly on a straight line: each guess is where the line through the two known points
    nearest to the limit meets it. The result is a number whose need was predicted, never an extrapolation. If the
    predictions run out before, a larger number might fit too.
    """
    start = max(1, min(start, most))
    known = {start: need(start)}
    fits = start if known[start] <= limit else 0
    beyond = most + 1 if fits else start
    guess = min(2 * start, most) if fits else max(1, start // 2)
    for _ in range(_TRIES):
        if beyond - fits <= 1:
            break
        guess = min(max(guess, fits + 1), beyond - 1)
        known[guess] = need(guess)
        if known[guess] <= limit:
            fits = guess
        else:
            beyond = guess
        guess = _crossing(known, limit)
    return fits


def halved(need: Callable[[int], float], limit: float, start: int, least: int) -> int | None:
    """Return the first of start / 2, start / 4 ... and `least` whose need stays within the limit; None if none does."""
    size = start // 2
    if size < least or need(least) > limit:
        return None
    while size >= least:
        if need(size) <= limit:
            return size
        size //= 2
    return least


def _crossing(known: dict[int, float], limit: float) -> int:
    """Return the number at which the line through the two known points nearest to the limit meets it, rounded down."""
    near = sorted(known, key=lambda number: abs(known[number] - limit))[:2]
    if len(near) < 2 or known[near[0]] == known[near[1]]:
        return 2 * max(known)
    slope = (known[near[1]] - known[near[0]]) / (near[1] - near[0])
    exact = near[0] + (limit - known[near[0]]) / slope
    return int(exact) if known[near[0]] > limit or int(exact) > near[0] else near[0] + 1
