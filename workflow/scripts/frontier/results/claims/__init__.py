"""Judge each claim by the runs: a function a claim, named as in findings.json, from `Evidence` to a verdict.

Imports the hall and the rest of results; no torch. Read claim.py first (what a claim is made of), then the claims in
the order of findings.py: trained, recommendation, rank, rates, precision, budget, memory, time, next_gain, plan.
compared.py says at which learning rates a claim compared, last_stretch.py how training losses ended; published.py holds
what others state (config/claims.yaml) against these verdicts, with stated.py for what no other claim judges.
"""
