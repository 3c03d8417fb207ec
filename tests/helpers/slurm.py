"""A Slurm of one node on this machine, on loopback, as root: a controller, a daemon, two GPUs of placeholder files."""

import importlib.util
import os
import shutil
import socket
import stat
import subprocess
import time
from pathlib import Path

CONFIG = Path("/etc/slurm")  # srun inside a job finds its configuration only there
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "munged", "setpriv")
OURS = "# Of lora-frontier's tests."
PARTITION = "tiny"


def missing() -> str | None:
    """Why no Slurm can be run here, in a line; None where one can."""
    if os.geteuid() != 0:
        return "a Slurm of the tests' own needs root"
    absent = [name for name in PROGRAMS if not shutil.which(name)]
    if absent:
        return f"no Slurm here ({', '.join(absent)} missing): apt-get install slurm-wlm munge"
    if not importlib.util.find_spec("snakemake_executor_plugin_slurm"):
        return "Snakemake's executor for Slurm is missing: pip install -r envs/slurm.txt"
    file = CONFIG / "slurm.conf"
    if file.exists() and not file.read_text("utf-8").startswith(OURS):
        return f"{file} is there already, so this machine's own Slurm is left alone"
    return None


class Slurm:
    """Started by `start`, gone after `stop`; `restart_controller` is what an administrator does mid-sweep."""

    def __init__(self, folder: Path):
        self.folder, self.processes, self.host = folder, {}, socket.gethostname()

    def start(self) -> None:
        for name in ("state", "spool", "log"):
            (self.folder / name).mkdir(parents=True)
        for index in range(2):
            # Slurm takes a character device alone; one more of /dev/null does.
            os.mknod(self.folder / f"gpu{index}", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        CONFIG.mkdir(exist_ok=True)
        (CONFIG / "gres.conf").write_text(f"NodeName={self.host} Name=gpu File={self.folder}/gpu[0-1]\n")
        (CONFIG / "slurm.conf").write_text(self._configuration())
        self._start_munge()
        self.start_controller()
        self._start("slurmd", "slurmd", "-D", "-N", self.host)
        self._await("idle", "sinfo", "--noheader", "--format=%T")

    def stop(self) -> None:
        for name in ("slurmd", "slurmctld", "munged"):
            self.end(name)
        for name in ("slurm.conf", "gres.conf"):
            (CONFIG / name).unlink(missing_ok=True)

    def start_controller(self) -> None:
        self._start("slurmctld", "slurmctld", "-D")
        self._await("UP", "scontrol", "ping")

    def end(self, name: str) -> None:
        process = self.processes.pop(name, None)
        if process and process.poll() is None:
            process.terminate()
            process.wait(timeout=60)

    def ask(self, *command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout

    def _start(self, name: str, *command: str, **options) -> None:
        with open(self.folder / "log" / f"{name}.out", "a") as log:
            # However the tests end, no daemon of theirs is left.
            mortal = ["setpriv", "--pdeathsig", "TERM", *command]
            self.processes[name] = subprocess.Popen(mortal, stdout=log, stderr=log, **options)

    def _start_munge(self) -> None:
        """A munge of our own beside any other: its socket, key and files in our folder, by the user that it wants."""
        folder = self.folder / "munge"
        folder.mkdir()
        key = folder / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        for path in (folder, key):
            shutil.chown(path, "munge", "munge")
        options = {"key-file": key, "socket": self.socket, "pid-file": folder / "pid", "seed-file": folder / "seed"}
        options |= {"log-file": folder / "log"}
        command = ["munged", "--foreground", *(f"--{name}={path}" for name, path in options.items())]
        self._start("munged", *command, user="munge", group="munge")
        deadline = time.monotonic() + 20
        while not self.socket.exists():
            assert time.monotonic() < deadline, "munged did not start"
            time.sleep(0.05)

    @property
    def socket(self) -> Path:
        return self.folder / "munge" / "socket"

    def _await(self, word: str, *command: str) -> None:
        deadline = time.monotonic() + 60
        while word not in self.ask(*command):
            assert time.monotonic() < deadline, f"{' '.join(command)} never said {word}; see {self.folder}/log"
            time.sleep(0.2)

    def _configuration(self) -> str:
        return f"""\
{OURS}
ClusterName=tiny
SlurmctldHost={self.host}(127.0.0.1)
SlurmUser=root
AuthInfo=socket={self.socket}
StateSaveLocation={self.folder}/state
SlurmdSpoolDir={self.folder}/spool
SlurmctldPidFile={self.folder}/slurmctld.pid
SlurmdPidFile={self.folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
GresTypes=gpu
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
MessageTimeout=10
KillWait=5
SlurmdParameters=config_overrides
NodeName={self.host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=8000 Gres=gpu:2 State=UNKNOWN
PartitionName={PARTITION} Nodes={self.host} Default=YES MaxTime=INFINITE State=UP
"""
