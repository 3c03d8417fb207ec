"""What is measured beside a training, what it may cost, and where it runs."""

from frontier.study.keys.key import Key, Section
from frontier.study.keys.kinds import FLAG, Kind, different, either, figures, number, one_of, text, whole

# Quality is measured in these alone; "auto" would let the device choose what a figure means.
_DTYPE = one_of("float32", "bfloat16", "float16")
# Trackers of trainings, by transformers' names, which are those of their modules too.
TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")
_CARD = either(
    text("a card's name"),
    figures(
        "figures of a card",
        required={"memory_gib": number(above=0)},
        optional={
            **dict.fromkeys(("bandwidth_gbs", "half_tflops", "link_gbs"), number(above=0)),
            "capability": Kind(
                {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "integer", "minimum": 0}},
                "CUDA's compute capability, say [8, 9]",
            ),
        },
    ),
    takes="auto, a card's name such as RTX 4090, its memory such as 12 GB, or its figures from memory_gib on",
)


def _limit(name: str, empty: str, buys: str = "") -> Key:
    """Return the key of a limit on memory or time; `empty` says what an empty one means."""
    return Key(name, number(above=0).or_empty(empty), default=None, buys=buys)


EVALUATION = Section(
    "evaluation",
    "a section of the evaluation's settings",
    keys=(
        Key("batch_size", whole(1), default=8, buys="changes time and memory, not the result"),
        Key(
            "compute_dtype",
            _DTYPE,
            default="float32",
            buys="16 bits: batch_size would move the result by as much as a rank does",
        ),
    ),
)

ACCURACY = Section(
    "accuracy",
    "a section of the accuracy's settings",
    keys=(
        Key(
            "measure", FLAG, default=False, buys="true: a column of the summary; false: results/accuracy.csv on demand"
        ),
        Key(
            "examples",
            whole(1).or_empty("for all"),
            default=None,
            buys="empty: every problem; fewer: sooner, and a wider standard error",
        ),
        Key("batch_size", whole(1), default=16, buys="changes time and memory, not the answers"),
        Key(
            "max_new_tokens",
            whole(1, 65536, "a whole number from 1"),
            default=256,
            buys="an answer is cut off there, and counted",
        ),
        Key(
            "compute_dtype",
            _DTYPE,
            default="float32",
            buys="16 bits: faster, but batch_size may change an answer",
        ),
    ),
    buys="greedy answers to the validation problems, or to data.test_file's or test_split's",
)

BUDGET = Section(
    "budget",
    "a section with memory_gib and hours",
    keys=(
        _limit("memory_gib", "for no limit", "empty: no limit"),
        _limit("hours", "for no limit", "of training; a run projected past it is ended, its row saying so"),
        Key("continue_over_time", FLAG, default=False, buys="true: go on all the same"),
    ),
    buys="what a run may cost; the findings say which runs stay inside",
)

CHECKPOINTS = (
    Key(
        "checkpoint_minutes",
        number(above=0).or_empty("for none by time"),
        default=5,
        buys="the most that a kill can cost; saving takes a moment, which is not counted",
    ),
    Key(
        "checkpoint_steps",
        whole(1).or_empty("for none by steps"),
        default=None,
        buys="also every so many steps",
    ),
)

RECOMMEND = Section(
    "recommend",
    "a section with memory_gib, hours and max_perplexity",
    keys=(
        _limit("memory_gib", "for the budget's"),
        _limit("hours", "for the budget's"),
        Key(
            "max_perplexity",
            number(above=1).or_empty("for no limit"),
            default=None,
            buys="no run above it is recommended; empty: the best there is",
        ),
    ),
    buys="what the recommended run may cost; empty: as the budget",
)

PLAN = Section(
    "plan",
    "a section with the card to plan for",
    keys=(
        Key(
            "card",
            _CARD,
            default="auto",
            buys="the device that is there, a card of cards.yaml (say RTX 4050 Laptop), 12 GB, or its figures",
        ),
    ),
    buys="results/plan.csv: what each run would need and take, before any starts",
)

ASK = Section(
    "ask",
    "a section with rows and hours",
    keys=(
        Key("rows", whole(1), default=1000, buys="examples that hours are for, each learned once"),
        _limit("hours", "for no limit", "what takes longer is left out"),
    ),
    buys="results/options.csv: what could be trained on plan.card; make ask CARD=... ROWS=... HOURS=...",
)

SKIP_HOPELESS = Key(
    "skip_hopeless",
    FLAG,
    default=False,
    buys="true: a run planned far beyond the budget is not started, its row saying so",
)

MERGE = Key(
    "merge",
    different(text("a folder that has a results/summary.csv"), "a list of different folders of studies"),
    default=[],
    buys="folders of studies for results/merged.html and results/merged.csv, say [., ../other]",
)

REPORT_TO = Key(
    "report_to",
    different(one_of(*TRACKERS), f"a list of {', '.join(TRACKERS)}"),
    default=[],
    buys="trackers that are told of each training as it goes on, say [tensorboard]: docs/watching.md",
)

CLUSTER = Section(
    "cluster",
    "a section with memory_gib and hours",
    keys=(
        _limit(
            "memory_gib",
            "for the plan's, or 16",
            "of the host's memory; more: longer in the queue; too little: the job is killed",
        ),
        _limit(
            "hours",
            "for the plan's, or the budget's and one, or 24",
            "of run time; fewer: sooner started, but cut off and continued more often",
        ),
    ),
    buys="what each training or evaluation asks of Slurm (docs/scale.md); unused without it",
)

DEVICE = (
    Key(
        "device",
        text("auto, cpu, cuda or cuda:N", "^(auto|cpu|cuda(:[0-9]{1,2})?)$"),
        default="auto",
        buys="cpu, cuda or cuda:N; auto is a GPU where there is one",
    ),
    Key(
        "cpu_threads",
        whole(1, 4096, "a whole number from 1").or_empty("for every physical core"),
        default=None,
        buys="empty: every physical core that the process may use, by its container's quota too",
    ),
)
