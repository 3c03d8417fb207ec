"""Draw the study: perplexity against memory and time, memory against time, perplexity against rank and rate, losses.

Imports the hall and the rest of results; no torch. Read bests.py first (which runs are shown: each arm at its best
learning rate), then canvas.py (colours, sizes, units, what is drawn from), then tradeoff.py with standing.py and
costs.py, both with points.py, ranks.py with looks.py and rates.py, all with notes.py, labels.py and ground.py;
curves.py and plan.py; draw.py draws them all into files, svg.py into a page.
"""
