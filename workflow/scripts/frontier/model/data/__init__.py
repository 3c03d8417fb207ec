"""Examples, from their source to tokens. Imports the hall alone.

Read its files in this order:

    checks        what a row must have to be an example: a question and an answer
    json_lines    the file format in which the jobs hand examples to each other, and users may bring them
    split         which examples train, which validate, which are left out
    readers       the sources that a config can name: files, the hub, a generator
    filters       the final number of an answer, as lm-evaluation-harness takes it
    truths        the number that an example's answer ends in, by one rule
    examples      a study's examples: read, split and counted (the job fetch_data)
    controls      texts as token ids, with control tokens where the template has them and nowhere else
    encoding      the token ids of prompts and answers, in training and in accuracy alike
    differences   where tokens say something else than their text: counts
    tokens        examples as tokens: made, written (the job tokenize_data), and loaded by training and evaluation

A new source takes a function in readers and entries elsewhere: CONTRIBUTING.md lists them all. A new file format is a
module beside json_lines.
"""
