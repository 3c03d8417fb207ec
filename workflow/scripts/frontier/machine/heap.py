"""How the C library keeps what a job has freed in the host's memory; a card's tensors are elsewhere.

glibc keeps the memory of freed tensors under 32 MiB, the most that it allows, for later ones. Giving it back and asking
for it again would cost a page fault for every 4 KiB, at each step on a CPU and while a base or an adapter is written.

torch asks glibc's malloc for 64-byte alignment, and malloc then cuts a few dozen bytes off before each tensor. It keeps
lists of freed blocks of such small sizes for requests of the same size. On a CPU those requests are autograd's, whose
small objects live as long as the graph. They would lie between the freed tensors, whose memory could then not be joined
for larger tensors. Without the lists a process holds little more than its tensors take.

glibc reads the variable when a process starts. Other C libraries ignore it.
"""

# The environment variable that glibc reads its tunables from.
VARIABLE = "GLIBC_TUNABLES"
# Bytes: the largest block that is cut from kept memory, and how many free bytes are kept (any number).
_KEPT = {"mmap_threshold": 2**25, "trim_threshold": 2**40}
# The lists of small freed blocks, both left empty: blocks a list of a thread, and bytes of the largest in a fast list.
_UNLISTED = {"tcache_count": 0, "mxfast": 0}


def settings(on_cpu: bool) -> str:
    """Return VARIABLE's value for a job whose tensors stay in the host's memory (`on_cpu`), or only pass through it."""
    chosen = _KEPT | _UNLISTED if on_cpu else _KEPT
    return ":".join(f"glibc.malloc.{name}={value}" for name, value in chosen.items())
