"""How the C library keeps what a job has freed in the host's memory; a card's tensors are elsewhere.

Tensors under 32 MiB, the most that glibc allows, are cut from memory that is kept for the next: to give it back and
ask for it again costs a page fault for every 4 KiB, at each step on a CPU, and while a base or an adapter is written.

glibc's malloc, asked for 64-byte alignment as torch asks it, cuts a few dozen bytes off before each tensor. It lists
freed blocks so small for requests of their size, so on a CPU they go to autograd's records, which live as long as the
graph: between them the room of freed tensors is never joined again, and larger tensors do not fit into it. Without
those lists a process holds little more than its tensors take.

glibc reads this when a process starts; other C libraries never do.
"""

VARIABLE = "GLIBC_TUNABLES"
_KEPT = {"mmap_threshold": 2**25, "trim_threshold": 2**40}
_UNLISTED = {"tcache_count": 0, "mxfast": 0}


def settings(on_cpu: bool) -> str:
    """VARIABLE's value for a job whose tensors are in the host's memory, or but pass through it."""
    chosen = _KEPT | _UNLISTED if on_cpu else _KEPT
    return ":".join(f"glibc.malloc.{name}={value}" for name, value in chosen.items())
