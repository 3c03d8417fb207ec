"""Judge each claim by the runs: a function a claim, named as in findings.json, from `Evidence` to a verdict.

Imports the hall and the rest of results; no torch. Read claim.py first (what a claim is made of), then the claims in
the order of findings.py: budget, time, precision, rank, memory, plan, recommendation, rates. compared.py says at which
learning rates a claim compared; published.py quotes the study that most of the claims are from.
"""
