"""Hold a model's proof against the device and the libraries that a run has, and have it made again where they differ.

A proof is a job of the workflow. That job is not made again because a package was upgraded, or because a study goes on
on another kind of device; a run that starts there is proved again by itself, before it trains or judges anything.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from frontier import paths, records
from frontier.errors import UserError
from frontier.machine import launch
from frontier.proof_types import ProofRecord
from frontier.request_types import DeviceRequest


def holding_proof(inputs: dict[str, Any], request: DeviceRequest, present: dict[str, Any]) -> ProofRecord:
    """Return the record of a proof of the job's model that holds for `present`, its `device` type and `versions`.

    `inputs` are the job's, `request` has its device. Raises UserError with the proof's own line where there is none.
    """
    proof = records.read_json(inputs["proof"])
    if all(proof[key] == value for key, value in present.items()):
        return proof
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "proof.json"
        asked = {"device": request["device"], "cpu_threads": request["cpu_threads"]}
        job = {"request": asked, "input": {"model": str(inputs["model"])}, "output": {"proof": str(target)}}
        # In a process of its own, with which ends what the proof sets in torch and holds on the device.
        command = [sys.executable, "-m", "frontier.jobs.worker", "run.prove.prove_model", str(os.getpid())]
        modules = {"PYTHONPATH": os.pathsep.join(filter(None, [str(paths.SCRIPTS), os.environ.get("PYTHONPATH")]))}
        done = subprocess.run(
            command,
            input=json.dumps(job),
            text=True,
            stdout=subprocess.PIPE,
            env=launch.inherited_variables() | modules,
        )
        if done.returncode:
            line = (done.stdout.strip().splitlines() or ["the proof of the model failed; see the log"])[-1]
            raise UserError(line.removeprefix("error: "))
        return records.read_json(target)
