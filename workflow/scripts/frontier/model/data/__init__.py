"""Examples, from their source to tokens. Imports the hall alone.

Read its files in this order:

    files         which files a path of a user's means
    checks        what a value must be to be a text
    tool_calls    tools and calls, in OpenAI's form
    conversations turns of either form that people have, as messages
    formats       which columns hold an example, and how it is read of them
    text_files    rows of JSON lines, a JSON array or CSV
    tables        rows of any file, told by what is in it
    hub_columns   rows of the hub, whose texts stay what they are
    rows          an example on its way to a side of the split
    split         which examples train, which validate, which are left out
    near_repeats  what asks the same but for case, digits and punctuation
    readers       the sources that a config can name: files, the hub, a generator
    json_lines    the file format in which the jobs hand examples to each other
    filters       the final number of an answer, as lm-evaluation-harness takes it
    truths        the number that an example's answer ends in, by one rule
    told          what became of a source's rows: counts, and lines that tell them
    examples      a study's examples: read, split and counted (the job fetch_data)
    controls      texts as token ids, with control tokens where the template has them and nowhere else
    continuing    texts as they go on behind others
    encoding      the token ids of prompts and answers, in training and in accuracy alike
    turns         where an assistant's turns stand in the text of a chat template
    chat          conversations as token ids, and which of these are learned
    templates     a text or the tokenizer's own chat template: chosen and described
    differences   where tokens say something else than their text: counts
    tokens        examples as tokens: made, written (the job tokenize_data), and loaded by training and evaluation
    chat_tokens   conversations as tokens, by whole turns

A new source takes a function in readers and entries elsewhere: CONTRIBUTING.md lists them all. A new file format is an
entry in tables, a new form of rows one in formats.
"""
