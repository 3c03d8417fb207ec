"""Draw the study: memory against time, perplexity against time and rank, the losses, and the plan.

Imports the hall and the rest of results; no torch. Read canvas.py first (colours, sizes, units, what is drawn from),
then tradeoff.py with points.py and labels.py, curves.py and plan.py; draw.py draws them all into files, svg.py into a
page.
"""
