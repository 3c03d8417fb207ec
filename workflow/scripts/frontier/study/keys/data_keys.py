"""The section `data`: what is learned, and how an example becomes a text."""

from frontier.study.keys.key import Key, Sourced
from frontier.study.keys.kinds import Kind, one_of, text, whole
from frontier.study.keys.model_keys import REPOSITORY, REVISION

_COLUMN = text("a column's name")
_FILE = text("a file of JSON lines, a JSON array, CSV, parquet or Arrow, or a folder of such")
_SPLIT = text("a split's name")
_COUNT = whole(1, 100_000)
_ALL_HELD_OUT = "for all (a fifth of the training rows, where they are held out)"
_HELD_OUT = "to hold out training rows"
_SEED_BUYS = "draws the problems and the split; the runs' seeds never move it"
_MORE_VALIDATION = "more: narrower differences between runs, longer evaluations"
_CUT_OFF = "longer examples are cut off and counted; memory and time grow with it"

# Forms of rows, and how they are split.
_ROWS = (
    Key(
        "format",
        one_of("auto", "question-answer", "prompt-completion", "alpaca", "messages", "sharegpt", "text"),
        default="auto",
        buys="the form of the rows; auto: by their columns",
    ),
    Key(
        "loss_turns",
        one_of("all", "last"),
        default="all",
        buys="of conversations: the assistant's turns that are learned",
        part="tokens",
    ),
    Key(
        "split",
        one_of("shuffled", "order"),
        default="shuffled",
        buys="which rows are held out: drawn by split_seed, or the last",
    ),
    Key("split_seed", whole(0), default=0, buys="draws the split; the runs' seeds never move it"),
    Key("group_column", _COLUMN.or_empty("for none"), default=None, buys="rows that share its value stay on one side"),
    Key(
        "stratify_column",
        _COLUMN.or_empty("for none"),
        default=None,
        buys="each of its values has its share on both sides",
    ),
    Key(
        "near_repeats",
        one_of("keep", "leave-out"),
        default="keep",
        buys="leave-out: validation without what training asks but for case, digits and punctuation",
    ),
)
_FILES = (
    Key("train_file", _FILE),
    Key("validation_file", _FILE.or_empty(_HELD_OUT), default=None),
    Key("test_file", _FILE.or_empty("for none"), default=None, part="test"),
    *_ROWS,
)

DATA = Sourced(
    "data",
    "a section with a source (reasoning-gym, file, jsonl or hub)",
    shared=(
        Key("train_examples", whole(1).or_empty("for all"), default=None),
        Key("validation_examples", whole(1).or_empty(_ALL_HELD_OUT), default=None),
        Key("question_column", _COLUMN, default="question"),
        Key("answer_column", _COLUMN, default="answer"),
        Key(
            "template",
            text("a text with {question} in it, or chat", r"\{question\}|^chat$").or_empty("for the rows' own"),
            default=None,
            buys="chat: the tokenizer's own; empty: that for conversations, else a text as this",
            part="tokens",
        ),
        Key("max_length", whole(8, 2**20, "a number of tokens from 8"), default=512, buys=_CUT_OFF, part="tokens"),
    ),
    sources={
        "reasoning-gym": (
            Key("dataset", one_of("gsm_symbolic"), default="gsm_symbolic"),
            Key("seed", whole(0), default=0, buys=_SEED_BUYS),
            Key("train_examples", _COUNT),
            Key("validation_examples", _COUNT, buys=_MORE_VALIDATION),
        ),
        "file": _FILES,
        "jsonl": _FILES,
        "hub": (
            Key("id", REPOSITORY),
            Key("name", Kind({"type": ["string", "null"]}, "a configuration of the data set, say main"), default=None),
            Key("revision", REVISION, default=None),
            Key("train_split", _SPLIT, default="train"),
            Key("validation_split", _SPLIT.or_empty(_HELD_OUT), default=None),
            Key("test_split", _SPLIT.or_empty("for none"), default=None, part="test"),
            *_ROWS,
        ),
    },
    buys="what it learns; other sources: file, hub",
)
