"""Start, watch and end the processes in which jobs run. Nothing here changes a result: the code digest leaves it out.

The room imports the hall and machine. Read a job's life in this order:

1. `supervise`: what a rule's script calls. It claims devices, starts the job's process, and says how that ended. Its
   helpers are `code_digest` over `code_imports` (which code the job depends on), `retries` (whether another attempt is
   worth it), `device_locks` (which device is free) and `watch` (whether Snakemake and the process live).
2. `child_process`: the process as its supervisor has it. It starts with the variables of `machine.launch`, and in one
   of two ways. Each job that imports torch is forked, on Linux, by a server that has imported torch already:
   `fork_client` asks for the fork, and starts the server with a Snakemake's first such job; `fork_server` imports what
   `machine.preload` names, then forks. Any other job, and one that the server turns away, is a new Python.
3. `worker`: the process from within, whichever way it came about. It calls the job's function.
4. What a job may start in turn: `team`, the other processes that share a training; `hopeless`, the planner, which
   predicts that a training need not be started; and `proving`, the proof of a model, made again where the one that is
   there is of another kind of device or of other versions.

`stopping` is what all three, and Snakemake, do when they are asked to stop: the step is ended, a checkpoint written.
`unlock` is a command of its own, for the lock that a killed Snakemake leaves behind.
"""
