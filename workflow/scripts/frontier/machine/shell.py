"""Which environment variables of the user's reach a job: none that could change what it does or measures.

A shell keeps what was exported hours ago: by a launcher of distributed trainings, by a cluster's modules, by a search
for a bug. A library obeys such a variable without a word. So each of these is left out of every job; what a study is
to do stands in its configuration, and nowhere else. docs/reliability.md lists them with what each would do.
"""

import re
from collections.abc import Mapping

# Variables by which torch.distributed, accelerate, transformers, MPI and SageMaker take a process for one of several.
# It would then wait for the others, which nobody starts.
_LAUNCHERS = (
    r"(GROUP_|LOCAL_|NODE_|ROLE_)?RANK|(GROUP_|LOCAL_|ROLE_)?WORLD_SIZE|MASTER_(ADDR|PORT)|FORK_LAUNCHED",
    r"TORCHELASTIC_.*|TORCHCOMM_.*|(PMI|PMIX|OMPI|MV2|MPI|HYDRA)_.*|SM_.*|SMDATAPARALLEL_.*|SAGEMAKER_.*",
)
# Variables by which accelerate and transformers are set, and which they prefer to their arguments: precision, sharding,
# device, accumulation and clipping of gradients.
_SETTINGS = (r"(ACCELERATE|FSDP|DEEPSPEED|MEGATRON_LM|PARALLELISM_CONFIG)_.*",)
# Variables that make libraries choose XLA, TPU or HPU devices, or that set the device of transformers' own tests.
_DEVICES = (r"XLA_.*|PJRT_.*|TPU_.*|USE_TORCH_XLA|DEEPSPEED_USE_HPU|PT_HPU_.*|TRANSFORMERS_TEST_.*",)
# Variables that change the arithmetic: products of other precision or by other kernels, other attention, other layers.
_ARITHMETIC = (
    r"NVIDIA_TF32_OVERRIDE|TORCH_ALLOW_TF32_.*|(ONEDNN|DNNL)_.*|ATEN_CPU_CAPABILITY|PYTORCH_TUNABLEOP_.*",
    r"MKL_(?!THREADING_LAYER|INTERFACE_LAYER|SERVICE_).*|TORCH_BLAS_PREFER_.*|TORCH_LINALG_PREFER_.*|TORCH_CUDNN_.*|ROCBLAS_.*|TRITON_INTERPRET",
    r"TRANSFORMERS_SDPA_FORCE_GQA|TRANSFORMERS_DISABLE_.*|USE_HUB_KERNELS|FLASH_ATTENTION_DETERMINISTIC|PYTORCH_JIT.*",
)
# Variables that change time or memory: a host that waits for each kernel; memory without torch's allocator, by which
# the budget is kept; a log of each step (and torch not imported where a log's name is wrong); a number or placement of
# threads other than the key cpu_threads says.
_COST = (
    r"CUDA_LAUNCH_BLOCKING|PYTORCH_NO_(CUDA|HIP)_MEMORY_CACHING|PYTORCH_CUDA_MEMCHECK",
    r"TORCH_(LOGS|TRACE|SHOW|CPP_LOG_LEVEL|DISTRIBUTED_DEBUG).*",
    r".*_NUM_THREADS|(OMP|GOMP)_.*|KMP_(?!DUPLICATE_LIB_OK).*",
)
# Variables that change how Python itself runs: warnings that become errors, tracing, an interpreter that does not end.
_PYTHON = (
    r"PYTHON(WARNINGS|INSPECT|TRACEMALLOC|MALLOC.*|DEVMODE|OPTIMIZE|DEBUG|BREAKPOINT)",
    r"PYTHON(IOENCODING|UTF8|COERCECLOCALE)",
)


_LEFT_OUT = re.compile("|".join([*_LAUNCHERS, *_SETTINGS, *_DEVICES, *_ARITHMETIC, *_COST, *_PYTHON]))


def for_jobs(variables: Mapping[str, str]) -> dict[str, str]:
    """Return those of the environment `variables` that a job is given."""
    return {name: value for name, value in variables.items() if not _LEFT_OUT.fullmatch(name)}
