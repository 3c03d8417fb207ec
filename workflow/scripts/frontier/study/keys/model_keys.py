"""The section `model`: what is fine-tuned."""

from frontier.study.keys.key import Key, Sourced
from frontier.study.keys.kinds import Kind, text

SHA256 = text("64 hexadecimal digits", "^[0-9a-f]{64}$")
# The name of a repository of Hugging Face's hub, and of one of its states.
REPOSITORY = text("OWNER/NAME", "^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$")
REVISION = Kind({"type": ["string", "null"], "pattern": "^[A-Za-z0-9._/-]+$"}, "a commit, tag or branch")
# What AutoConfig.for_model takes; transformers itself checks all but the model's type.
_TRANSFORMERS_CONFIG = Kind(
    {
        "type": "object",
        "required": ["model_type"],
        "properties": {"model_type": text("a transformers model type, say llama", "^[a-z0-9_-]+$").schema()},
    },
    "a transformers configuration with its model_type",
)

MODEL = Sourced(
    "model",
    "a section with a source (package, hub, path, architecture or shape)",
    sources={
        "package": (
            Key("package", text("a package's name", "^[A-Za-z0-9._-]+$")),
            Key("version", text("a version", "^[A-Za-z0-9.+!_-]+$")),
            Key("wheel_sha256", SHA256),
            Key("file", text("the path of a .gguf file inside the wheel", r"\.gguf$")),
            Key("file_sha256", SHA256),
        ),
        "hub": (Key("id", REPOSITORY), Key("revision", REVISION, default=None)),
        "path": (Key("path", text("a folder with config.json and safetensors")),),
        "architecture": (Key("config", _TRANSFORMERS_CONFIG),),
        "shape": (Key("name", text("a name of config/shapes.yaml, say Qwen2.5-7B")),),
    },
    buys="what is fine-tuned; other sources: hub, path, architecture, shape",
)
