"""Seconds that the uncertainty of a whole grid takes: `python benchmarks/time_findings.py`.

Six ranks under three precisions, one seed and five, the 1,319 problems of GSM8K's test split, 10,000 draws.
"""

import time

import _path  # noqa: F401
import pandas as pd
from frontier.results import contrasts, derived, findings
from frontier.results.claims.claim import Evidence
from tables import NO_LIMITS, curve, run_losses

RANKS = {4: 4.2, 8: 4.0, 16: 3.6, 32: 3.4, 64: 3.3, 128: 3.29}


def main() -> None:
    for seeds in ((0,), range(5)):
        rows = [one for precision in ("fp16", "int8", "nf4") for one in curve(precision, RANKS, seeds=seeds)]
        summary = pd.DataFrame(rows)
        runs = {one["run"]: run_losses(one["perplexity"], 0.1, key, 1319) for key, one in enumerate(rows)}
        bases = {precision: run_losses(5.0, 0.1, 1000, 1319) for precision in ("fp16", "nf4")}
        start = time.perf_counter()
        derived.with_derived_columns(summary, runs, NO_LIMITS)
        middle = time.perf_counter()
        losses = contrasts.gather(summary, runs, bases)
        findings.state(Evidence(summary, losses, NO_LIMITS, NO_LIMITS | {"max_perplexity": None}))
        end = time.perf_counter()
        print(f"{len(rows)} runs: summary's columns {middle - start:.1f} s, findings {end - middle:.1f} s", flush=True)


if __name__ == "__main__":
    main()
