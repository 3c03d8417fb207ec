"""The adapter that is judged: the whole of what was trained, or one line."""

import pytest
import torch
from frontier import records
from frontier.errors import UserError
from frontier.model import bases, cache, sources
from frontier.model.execution import OWN, Method
from frontier.run import evaluation
from frontier.run.build import build_adapter
from safetensors.torch import load_file, save_file

CPU = torch.device("cpu")
LORA = {"alpha": 16, "dropout": 0.0, "rslora": True, "targets": "all-linear", "dtype": "float32"}


def test_an_adapter_that_lacks_a_tensor_or_has_one_too_many_is_refused(tiny_model, tmp_path, monkeypatch):
    """PEFT would judge what it draws at random in its place, with a warning in the log."""
    monkeypatch.setattr(cache, "CACHE", tmp_path / "cache")
    base = bases.convert(sources.fetch({"source": "path", "path": str(tiny_model)}, {}), "fp32", CPU)
    records.write_json(tmp_path / "base.json", base)
    adapter = tmp_path / "adapter"
    build_adapter(bases.load(base, CPU), LORA, 4, 0).save_pretrained(adapter)
    inputs = {"base": tmp_path / "base.json", "adapter": str(adapter)}
    job = {"input": inputs, "request": {"compute_dtype": "float32"}}
    assert evaluation.load_judged(job, CPU, Method(OWN))
    whole = load_file(adapter / "adapter_model.safetensors")
    key = min(whole)
    for edited in (
        {name: tensor for name, tensor in whole.items() if name != key},
        whole | {key.replace("layers.0", "layers.7"): whole[key].clone()},
    ):
        save_file(edited, adapter / "adapter_model.safetensors")
        with pytest.raises(
            UserError, match=rf"^adapter: {adapter} and the base do not go together: base_model\.model\."
        ):
            evaluation.load_judged(job, CPU, Method(OWN))
    (adapter / "adapter_model.safetensors").write_bytes(b"\0" * 40)
    with pytest.raises(UserError, match=r"adapter_model\.safetensors is no safetensors file"):
        evaluation.load_judged(job, CPU, Method(OWN))
