"""Settings of glibc's allocator: what a job's process keeps of the host's memory that it has freed.

By these settings glibc keeps freed blocks under 32 MiB, the largest limit that it takes, for later tensors. Giving them
back and asking for them again would cost a page fault for every 4 KiB, at each step on a CPU and while a base or an
adapter is written. Tensors on a card are not in this memory.

torch asks glibc's malloc for 64-byte alignment, and malloc then cuts a few dozen bytes off before each tensor. It keeps
lists of freed blocks of such small sizes for requests of the same size. On a CPU those requests are autograd's, whose
small objects live as long as the graph. They would lie between the freed tensors, whose memory could then not be joined
for larger tensors. So on a CPU the lists are switched off: a process then holds little more than its tensors take.

glibc reads the variable when a process starts. Other C libraries ignore it.
"""

# The environment variable that glibc reads its tunables from.
VARIABLE = "GLIBC_TUNABLES"
# Bytes: blocks below the first are cut from memory that is kept; free memory beyond the second, so none, is given back.
_KEPT = {"mmap_threshold": 2**25, "trim_threshold": 2**40}
# Both kinds of lists of small freed blocks, switched off: the most blocks in a list of a thread, and the bytes of the
# largest block in a "fast" list.
_UNLISTED = {"tcache_count": 0, "mxfast": 0}


def settings(on_cpu: bool) -> str:
    """Return VARIABLE's value for a job.

    `on_cpu` says that its tensors live in the host's memory; else they are on a card, and pass through the host's
    memory when they are loaded and saved.
    """
    chosen = _KEPT | _UNLISTED if on_cpu else _KEPT
    return ":".join(f"glibc.malloc.{name}={value}" for name, value in chosen.items())
