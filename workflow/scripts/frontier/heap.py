"""How the C library keeps what a job on a CPU has freed; a card's tensors are elsewhere.

glibc's malloc, asked for 64-byte alignment as torch asks it, cuts a few dozen bytes off before each tensor. It lists
freed blocks so small for requests of their size, so they go to autograd's records, which live as long as the graph:
between them the room of freed tensors is never joined again, and larger tensors do not fit into it. Without those
lists a process holds little more than its tensors take. Tensors under 32 MiB, the most that glibc allows, are cut from
memory that a step leaves to the next: to give it back and ask for it again costs a page fault for every 4 KiB.

glibc reads this when a process starts; other C libraries never do.
"""

VARIABLE = "GLIBC_TUNABLES"
_SETTINGS = {"tcache_count": 0, "mxfast": 0, "mmap_threshold": 2**25, "trim_threshold": 2**40}
SETTINGS = ":".join(f"glibc.malloc.{name}={value}" for name, value in _SETTINGS.items())
