#!/usr/bin/env bash
# With gradient checkpointing, hooks of a decoder layer run in the backward pass too up to some release of transformers 5,
# and no longer in a later one: what relies on a layer being called again before its gradients then works on other data.
#
# Version: transformers 5.17.0 and 5.23.0, with torch 2.13.0 (CPU).
# Expected: non-reentrant checkpointing computes a layer again by calling it, so that a forward pre-hook, which brings
#   offloaded weights or notes what a layer is given, runs twice in a step, as it did before.
# Seen: with 5.17.0 the pre-hook of each of three layers runs in the forward pass and, in reverse order, in the backward
#   pass: 0 1 2 2 1 0. With 5.23.0 it runs in the forward pass alone: 0 1 2. Losses and gradients are the same.
# Why: 5.23's GradientCheckpointingLayer wraps the layer's forward method, 5.17's wraps its call; the source of 5.23 says
#   that hooks, FSDP2's among them, are to stay outside of the checkpoint.
# Fails if either version does otherwise.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
cat >"$folder/calls.py" <<'PYTHON'
import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
config = LlamaConfig(vocab_size=8, hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2)
model = LlamaForCausalLM(config).train()
model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
calls = []
for index, layer in enumerate(model.model.layers):
    layer.register_forward_pre_hook(lambda *_, index=index: calls.append(str(index)))
ids = torch.arange(8)[None]
model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
seen = " ".join(calls)
print(f"pre-hooks of layers: {seen}")
sys.exit(seen != sys.argv[1])
PYTHON
for expected in "5.17.0:0 1 2 2 1 0" "5.23.0:0 1 2"; do
  "$folder/venv/bin/pip" install --quiet torch==2.13.0 "transformers==${expected%%:*}"
  echo "transformers ${expected%%:*}"
  "$folder/venv/bin/python" "$folder/calls.py" "${expected#*:}" 2>"$folder/errors" || { cat "$folder/errors"; exit 1; }
done
echo "as described"
