"""The grid of runs, and the settings of a training that all of them share."""

from frontier.study.keys.key import Key, Section
from frontier.study.keys.kinds import FLAG, Kind, different, either, named, number, one_of, text, whole

_PRECISIONS = ("fp32", "bf16", "fp16", "nf4", "fp4", "int8")
_RUN = text(
    "a run's name, PRECISION-rRANK-sSEED, say nf4-r64-s0, with -lr2e-3 and the like behind it",
    f"^({'|'.join(_PRECISIONS)})-r[1-9][0-9]{{0,3}}-s(0|[1-9][0-9]{{0,8}})(-[A-Za-z0-9_.-]+)?$",
)
_ALPHA = either(
    number(above=0),
    text("a multiple of the rank", r"^([1-9][0-9]*(\.[0-9]+)?|0\.[0-9]*[1-9])r$"),
    takes="a number above 0, or a multiple of the rank such as 2r",
)
_MODULES = either(
    Kind({"const": "all-linear"}, "all-linear"),
    different(text("a module's name"), "a list of module names", at_least=1),
    takes="all-linear, or a list of module names",
)
_TARGETS = either(
    _MODULES,
    named(_MODULES, "^[A-Za-z][A-Za-z0-9_]*(-[A-Za-z][A-Za-z0-9_]*)*$"),
    takes="all-linear, a list of module names, or several of these by names of your own",
)

GRID = (
    Key(
        "precisions",
        different(one_of(*_PRECISIONS), "a list of different precisions, at least one", at_least=1),
        default=["fp16", "nf4"],
        buys="how the frozen base is stored: fp32, bf16, fp16, nf4, fp4, int8",
    ),
    Key(
        "ranks",
        different(whole(1, 4096), "a list of different ranks, at least one", at_least=1),
        default=[8, 16, 32],
        buys="higher: more capacity, more adapter, gradient and optimiser memory",
    ),
    Key(
        "seeds",
        # Seeds of NumPy, which takes those of 32 bits.
        different(whole(0, 2**32 - 1), "a list of different seeds, at least one", at_least=1),
        default=[0],
        buys="each adds a whole grid; with several, differences can be told from noise",
    ),
    Key(
        "extra_runs",
        different(_RUN, "a list of different run names outside the grid"),
        default=[],
        buys="single runs outside the grid, say [nf4-r64-s0]",
    ),
)

LORA = Section(
    "lora",
    "a section of LoRA's settings",
    keys=(
        Key("alpha", _ALPHA.or_list(), default="2r", buys="a multiple of the rank, or one number for all ranks"),
        Key(
            "dropout",
            number(minimum=0, below=1).or_list(),
            default=0.0,
            buys="against overfitting; costs memory and time",
        ),
        Key("rslora", FLAG.or_list(), default=False, buys="scale by 1/sqrt(rank) instead of 1/rank"),
        Key(
            "targets",
            _TARGETS,
            default="all-linear",
            buys="or a list such as [q_proj, v_proj]: less memory, less capacity",
        ),
        Key(
            "dtype",
            one_of("float32", "bfloat16").or_list(),
            default="float32",
            buys="of the adapter and its optimiser; bfloat16: half their memory, small updates lost",
        ),
    ),
)

TRAINING = (
    Key(
        "learning_rate",
        number(above=0, maximum=10, takes="a number above 0").or_list(),
        default=1e-3,
        buys="several, say [5.0e-4, 1.0e-3, 2.0e-3]: each rank is judged at its best",
        part="training",
    ),
    Key(
        "schedule",
        one_of("cosine", "linear", "constant", "constant_with_warmup").or_list(),
        default="cosine",
        part="training",
    ),
    Key("warmup_steps", whole(0).or_list(), default=0, part="training"),
    Key(
        "steps",
        whole(1).or_empty("where epochs is given").or_list(),
        default=None,
        buys="optimiser steps; or leave empty and give epochs",
        part="training",
    ),
    Key("epochs", number(above=0).or_empty("where steps is given").or_list(), default=None, part="training"),
    Key("batch_size", whole(1).or_list(), default=4, buys="examples per optimiser step", part="training"),
    Key(
        "micro_batch_size",
        whole(1, takes="a whole number that divides batch_size").or_empty("for batch_size itself").or_list(),
        default=None,
        buys="examples at a time; fewer: less memory, slower, the same result",
        part="training",
    ),
    Key(
        "processes",
        whole(1, 64),
        default=1,
        buys="GPUs that each training is spread over, for a base larger than one: docs/scale.md",
    ),
    Key(
        "base_on",
        one_of("device", "host"),
        default="device",
        buys="host: a base larger than the card; its layers are sent over as they are called, which takes time",
    ),
    Key("weight_decay", number(minimum=0).or_list(), default=0.0, part="training"),
    Key(
        "max_grad_norm",
        number(minimum=0, takes="a number from 0, which is no clipping").or_list(),
        default=1.0,
        part="training",
    ),
    Key(
        "optimizer",
        one_of("adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit").or_list(),
        default="adamw_torch_fused",
        buys="adamw_8bit (slower), paged_adamw_8bit: state in a quarter of the memory, from 4,096 elements a matrix",
        part="training",
    ),
    Key(
        "gradient_checkpointing",
        FLAG.or_list(),
        default=False,
        buys="true: activations are computed again instead of kept; less memory, slower",
        part="training",
    ),
    Key(
        "fused_kernels",
        FLAG.or_list(),
        default=True,
        buys="CUDA: liger-kernel's norms, activation, rotary embedding (Llama, Mistral, Qwen2, Qwen3)",
        part="training",
    ),
    Key(
        "cuda_graphs",
        FLAG.or_list(),
        default=True,
        buys="CUDA: a step's thousands of kernels launched at once; faster, takes some memory",
        part="training",
    ),
    Key(
        "offload_embeddings",
        FLAG.or_list(),
        default=True,
        buys="CUDA: input embeddings stay in the host's memory, unless the head is the same matrix",
        part="training",
    ),
    Key(
        "compute_dtype",
        one_of("auto", "float32", "bfloat16", "float16").or_list(),
        default="auto",
        buys="of the matrix products; auto is what the device multiplies fast",
    ),
    Key("logging_steps", whole(1).or_list(), default=1, part="training"),
)
