"""torch's caching allocator, replayed: what a sequence of births and deaths allocates and reserves on a card.

A tensor costs more than its bytes: blocks are rounded, and a remainder too small to be worth splitting off stays with
its block. Freed blocks are kept, so what a process holds is more than what is allocated. The rules are those of
c10/cuda/CUDACachingAllocator.cpp: blocks of 512 bytes; requests up to 1 MiB share segments of 2 MiB, up to 10 MiB
segments of 20 MiB, larger ones get segments of their own in multiples of 2 MiB.
"""

import bisect
from collections.abc import Iterable, Iterator

_MIB = 2**20
_ROUND, _SMALL, _SMALL_SEGMENT, _MEDIUM, _MEDIUM_SEGMENT = 512, _MIB, 2 * _MIB, 10 * _MIB, 20 * _MIB


class _Block:
    __slots__ = ("following", "free", "number", "previous", "size", "small")

    def __init__(self, size: int, small: bool, number: int):
        self.size, self.small, self.number = size, small, number
        self.free, self.previous, self.following = True, None, None


def replay(events: Iterable[tuple[int, int]], expandable: bool = False) -> Iterator[tuple[int, int]]:
    """Allocated and reserved bytes after each (key, bytes): a birth, below 0 that key's death, 0 an emptied cache.

    `expandable` is PYTORCH_ALLOC_CONF's expandable_segments: blocks are then always split, and grow without gaps.
    """
    live: dict[int, _Block] = {}
    pools: dict[bool, list] = {True: [], False: []}
    allocated = reserved = count = 0

    def take(size: int) -> _Block:
        nonlocal reserved, count
        small = size <= _SMALL
        pool = pools[small]
        place = bisect.bisect_left(pool, (size, -1))
        if place < len(pool):
            block = pool.pop(place)[2]
        else:
            segment = _segment(size)
            reserved += segment
            count += 1
            block = _Block(segment, small, count)
        rest = block.size - size
        if rest >= _ROUND and (small or expandable or rest > _SMALL):
            count += 1
            other = _Block(rest, small, count)
            other.previous, other.following = block, block.following
            if other.following:
                other.following.previous = other
            block.following, block.size = other, size
            bisect.insort(pool, (rest, other.number, other))
        block.free = False
        return block

    def give_back(block: _Block) -> None:
        pool = pools[block.small]
        block.free = True
        for other in (block.previous, block.following):
            if other is not None and other.free:
                pool.pop(bisect.bisect_left(pool, (other.size, other.number)))
                block.size += other.size
                if other is block.previous:
                    block.previous = other.previous
                    if block.previous:
                        block.previous.following = block
                else:
                    block.following = other.following
                    if block.following:
                        block.following.previous = block
        bisect.insort(pool, (block.size, block.number, block))

    def empty() -> int:
        """Give whole segments back to the driver, as torch.cuda.empty_cache does."""
        freed = 0
        for pool in pools.values():
            whole = [entry for entry in pool if entry[2].previous is None and entry[2].following is None]
            freed += sum(entry[0] for entry in whole)
            pool[:] = [entry for entry in pool if entry not in whole]
        return freed

    for key, size in events:
        if not size:
            reserved -= empty()
        elif size > 0:
            live[key] = take(-(-size // _ROUND) * _ROUND)
            allocated += live[key].size
        elif key in live:
            block = live.pop(key)
            allocated -= block.size
            give_back(block)
        yield allocated, reserved


def _segment(size: int) -> int:
    if size <= _SMALL:
        return _SMALL_SEGMENT
    if size < _MEDIUM:
        return _MEDIUM_SEGMENT
    return -(-size // _SMALL_SEGMENT) * _SMALL_SEGMENT
