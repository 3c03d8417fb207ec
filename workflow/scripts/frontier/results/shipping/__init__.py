"""What is shipped of a study: which runs, what each way of using them costs, and the card beside an adapter.

It imports what its room does. `chosen` names the runs, `table` sets each way against the run as it was trained, with
`uses` for what each way is recommended for, and `card` writes an adapter's README.
"""
