"""Make several finished studies one page: results/merged.html.

Imports the hall and the rest of results; no torch. In this order: studies (what their folders hold, and what is no
study), groups (which of their runs may be compared), answer with intervals (the best within the limits), table (their
configurations), page.
"""
