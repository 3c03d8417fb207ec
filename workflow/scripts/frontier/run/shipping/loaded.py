"""Models of the ways, as the libraries that they are for load them, ready to be judged as runs are."""

from pathlib import Path
from typing import NamedTuple, cast

import torch
from peft import PeftModel

from frontier import records
from frontier.material_types import BaseRecord, ModelRecord
from frontier.model import bases, cache, packing
from frontier.model.dtypes import QUANTIZED, STORED
from frontier.model.execution import Method
from frontier.model.loading import load_whole, refuse_infinite
from frontier.model.stamps import refuse_changed
from frontier.proof_types import ProofRecord
from frontier.run.build import load_base
from frontier.run.shipping import merging
from frontier.run.shipping.adapter import read_adapter
from frontier.run.shipping.room import require_room
from frontier.ways import NF4


class Subject(NamedTuple):
    """What is shipped: a run's adapter, the base it was trained on, the model that this was made from, its proof."""

    adapter: Path
    base: BaseRecord
    model: ModelRecord
    proof: ProofRecord
    device: torch.device

    @property
    def sixteen_bit(self) -> str:
        """The precision that stands for 16 bits: the run's own, or fp16, in which quantised bases are made."""
        return self.base["precision"] if self.base["precision"] in ("fp16", "bf16") else "fp16"

    @property
    def exact(self) -> str:
        """The precision that loses nothing of the model's files: that of their numbers, where all are alike."""
        first, *others = self.model["opened"]["dtypes"]
        return "fp32" if others else {"F16": "fp16", "BF16": "bf16"}.get(first, "fp32")

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the adapter is merged in."""
        return STORED[self.sixteen_bit]

    @property
    def folder(self) -> Path:
        """The folder of the model that the base was made from."""
        return cache.CACHE / self.model["folder"]

    @property
    def is_quantised(self) -> bool:
        """Whether the base is quantised."""
        return self.base["precision"] in QUANTIZED


def subject_of(inputs: dict, device: torch.device) -> Subject:
    """Return what a job's inputs ship; UserError where the model's files are gone or are others by now."""
    model = records.read_json(inputs["model"])
    refuse_changed(model)
    base, proof = (records.read_json(inputs[name]) for name in ("base", "proof"))
    return Subject(Path(inputs["adapter"]), base, model, proof, device)


def merge(subject: Subject, which: str, into: Path) -> None:
    """Merge the adapter into the `original` 16-bit base or the `dequantised` one, into a folder."""
    into.mkdir()
    base = subject.folder if which == "original" else cache.CACHE / subject.base["folder"]
    merging.merge(base, subject.folder, read_adapter(subject.adapter), into, subject.dtype)


def over_base(subject: Subject, precision: str, method: Method, adapter: Path | None = None):
    """Return the adapter, of the run or of another folder, over the model's base at a precision, by PEFT."""
    record = subject.base
    if precision != record["precision"]:
        made = bases.convert(subject.model, precision, subject.device, subject.proof["read_directly"])
        record = cast(BaseRecord, made)
    base = load_base(record, subject.device, method=method)
    PeftModel.from_pretrained(base, adapter or subject.adapter)
    # PEFT has put its layers into the base in place.
    return base


def merged(subject: Subject, folder: Path, stored: str, method: Method):
    """Return a merged model of a folder, in 16 bits or, where `stored` is nf4, quantised again."""
    if stored != NF4:
        precision = subject.sixteen_bit
        record = {"precision": precision, "folder": str(folder.absolute()), "digest": ""}
        return load_base(cast(BaseRecord, record), subject.device, method=method)
    how = bases.quantization(NF4, subject.proof["read_directly"])
    options = {"dtype": torch.float16, "quantization_config": how, "device_map": {"": subject.device}}
    model, _ = load_whole(folder, str(folder), **options)
    if not (method.way and method.way.attention == "own"):
        model.set_attn_implementation(packing.ATTENTION)
    refuse_infinite(model, str(folder), NF4)
    return model.requires_grad_(False)


def bytes_in_nf4(subject: Subject, folder: Path, work: Path) -> int:
    """Return how many bytes a merged model takes as transformers writes it in NF4, by writing it."""
    require_room(work, sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 2, "the model in NF4")
    target = work / "nf4"
    merged(subject, folder, NF4, Method(None, ())).save_pretrained(target)
    return bytes_of(target)


def bytes_of(folder: Path) -> int:
    """Return the bytes of the weights in a folder."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
