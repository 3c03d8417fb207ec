"""Conversations made by chance, and tokenizers with the chat templates that TRL's package carries."""

import random
from functools import cache
from pathlib import Path

import trl
from word_tables import byte_level

TEMPLATES = Path(trl.__file__).parent / "chat_templates"
# The control tokens of each template's family.
CONTROLS = {
    "qwen": ["<|im_start|>", "<|im_end|>"],
    "llama3": ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    "gemma": ["<bos>", "<start_of_turn>", "<end_of_turn>"],
    "gptoss": ["<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>", "<|call|>"],
    "glm": ["[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<|observation|>", "<|system|>"],
    "deepseek": [
        f"<\uff5c{name}\uff5c>"
        for name in ("begin\u2581of\u2581sentence", "end\u2581of\u2581sentence", "User", "Assistant")
    ],
    "phi": ["<|user|>", "<|assistant|>", "<|end|>", "<|system|>"],
}
# What a template takes beside users' and assistants' turns.
TAKES = {
    "qwen2_5": {"system", "tools"},
    "qwen3": {"system", "tools", "thinking"},
    "gemma3": {"system"},
    "llama3": {"system"},
    "llama3_1": {"system", "tools"},
    "gptoss": {"system", "tools", "thinking"},
    "glm4moe": {"system", "tools", "thinking"},
    "deepseekv3": {"system"},
    "phi3": {"system"},
}
_WORDS = (
    "sun rain 007 1.50 Zürich 東京 naïve 😀 \n \n\n <b> {x} {{y}} {%z%} \\n \"q\" 'a' user assistant #### 5 the a of "
    "to <tool> [INST] model\n"
).split(" ")
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "Where."}}},
    },
}


@cache
def tokenizer(template: str):
    """A byte-level tokenizer with a family's control tokens and one of TRL's templates, by its name."""
    made = byte_level()
    names = next((names for family, names in CONTROLS.items() if template.startswith(family)), [])
    made.add_special_tokens({"additional_special_tokens": names})
    made.bos_token = names[0]
    made.chat_template = (TEMPLATES / f"{template}.jinja").read_text("utf-8")
    return made


def conversations(count: int, takes: set[str], seed: int = 0) -> list[dict]:
    """Different conversations of one to four exchanges, of hostile words, with what a template takes."""
    draw = random.Random(seed)
    return [_conversation(draw, takes) for _ in range(count)]


def _conversation(draw: random.Random, takes: set[str]) -> dict:
    messages = []
    if "system" in takes and draw.random() < 0.5:
        messages.append({"role": "system", "content": _text(draw)})
    for _ in range(draw.randint(1, 4)):
        messages.append({"role": "user", "content": _text(draw)})
        if "tools" in takes and draw.random() < 0.4:
            arguments = {"city": _text(draw), "days": draw.randint(1, 9)}
            call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": arguments}}
            messages.append(_thought(draw, takes) | {"role": "assistant", "content": "", "tool_calls": [call]})
            messages.append({"role": "tool", "name": "weather", "tool_call_id": "c1", "content": _text(draw)})
        messages.append(_thought(draw, takes) | {"role": "assistant", "content": _text(draw)})
    return {"messages": messages} | ({"tools": [TOOL]} if "tools" in takes else {})


def _thought(draw: random.Random, takes: set[str]) -> dict:
    return {"reasoning_content": _text(draw)} if "thinking" in takes and draw.random() < 0.6 else {}


def _text(draw: random.Random) -> str:
    return "w" + " ".join(draw.choices(_WORDS, k=draw.randint(1, 12))) + "w"
