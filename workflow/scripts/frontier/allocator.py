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
    tails: dict[bool, _Block] = {}
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
            last = tails.get(small)
            if expandable and last is not None:
                # The segment grows, and what lies free at its end is the beginning of the new block.
                page = _SMALL_SEGMENT if small else _MEDIUM_SEGMENT
                have = last.size if last.free else 0
                segment = -(-(size - have) // page) * page
                if last.free:
                    pool.pop(bisect.bisect_left(pool, (last.size, last.number)))
                    last.size += segment
                    block = last
                else:
                    count += 1
                    block = _Block(segment, small, count)
                    block.previous, last.following = last, block
                    tails[small] = block
            else:
                count += 1
                block = _Block(segment, small, count)
                tails[small] = block
            reserved += segment
        rest = block.size - size
        if rest >= _ROUND and (small or expandable or rest > _SMALL):
            count += 1
            other = _Block(rest, small, count)
            other.previous, other.following = block, block.following
            if other.following:
                other.following.previous = other
            block.following, block.size = other, size
            if tails.get(small) is block:
                tails[small] = other
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
                if tails.get(block.small) is other:
                    tails[block.small] = block
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
        """Give what is free back to the driver, as torch.cuda.empty_cache does: whole segments, or any pages."""
        freed = 0
        for small, pool in pools.items():
            going = [
                entry for entry in pool if expandable or (entry[2].previous is None and entry[2].following is None)
            ]
            pool[:] = [entry for entry in pool if entry not in going]
            for size, _, block in going:
                freed += size
                if tails.get(small) is block:
                    tails[small] = block.previous
                if block.previous is not None:
                    block.previous.following = None
                if block.following is not None:
                    block.following.previous = None
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
