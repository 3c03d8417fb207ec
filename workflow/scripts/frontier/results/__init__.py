"""Say what the runs mean: tables, intervals, claims, figures and the report.

Imports the hall and study.cards; no torch, so that it opens wherever the records are. In the order in which a study's
records become its report: columns (which columns there are), configurations (what a run is a repeat of), summary with
plan_errors and accuracy_table, uncertainty, contrasts, derived, merge; then findings with the folder claims, the folder
figures, and report. The folder merged makes one page of several studies. status prints what there is while a sweep goes
on.
"""
