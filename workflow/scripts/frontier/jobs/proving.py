"""Check that a model's proof is of a run's kind of device and versions of libraries; have it made again if it is not.

A proof is made by a job of the workflow, which Snakemake does not run again when a package is upgraded, or when a study
goes on on another kind of device. A run that starts there has the model proved again before it trains or judges.
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
    """Return the record of a proof of the job's model that was made with what is `present`: `device` type, `versions`.

    `inputs` are the job's, `request` has its device. Raises UserError with the proof's own line if the model fails it.
    """
    proof = records.read_json(inputs["proof"])
    if all(proof[key] == value for key, value in present.items()):
        return proof
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "proof.json"
        asked = {"device": request["device"], "cpu_threads": request["cpu_threads"]}
        job = {"request": asked, "input": {"model": str(inputs["model"])}, "output": {"proof": str(target)}}
        # In a process of its own: what the proof sets in torch and holds on the device ends with that process.
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
