"""The ways in which an adapter comes to where it is used: their names, and what each is in words.

A way has a name, say merged-original-Q8_0: what is done with the adapter, and behind it how the result is stored.
"""

from typing import NamedTuple

# The quantisations that files of llama.cpp are written in here, and the files of floating-point numbers.
QUANTISATIONS = ("Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0", "Q4_K_M", "Q4_K_S", "Q4_1", "Q4_0")
FLOAT_FILES = ("f32", "f16", "bf16")
# What a GGUF file may be asked for in.
GGUF_FILES = ("f16", "bf16", *QUANTISATIONS)
# The packages that carry llama.cpp and its quantisations, which are no requirement of the workflow itself.
LLAMA_CPP = ("xllamacpp", "libgguf")
# How a base is stored in its quantised form that transformers loads.
NF4 = "nf4"
# The ways that every run has, by name.
AS_TRAINED, OVER_16_BIT, OVER_NF4, OVER_GGUF = "as-trained", "over-16-bit", "over-nf4", "over-16-bit-gguf"
MERGES = ("original", "dequantised")
_WORDS = {
    AS_TRAINED: "over the base it was trained on",
    OVER_16_BIT: "over the 16-bit base, as vLLM or a 16-bit loader would",
    OVER_NF4: "over the NF4 base",
    OVER_GGUF: "as a GGUF adapter over the 16-bit base's f16 file, by llama.cpp",
}
_BASES = {"original": "the original 16-bit base", "dequantised": "the dequantised base"}


class Way(NamedTuple):
    """A way: the base that it merges into, or None for an adapter of its own; and what the result is stored in.

    `stored` is "" for 16 bits as transformers loads them, `nf4`, or a GGUF file's quantisation.
    """

    name: str
    merge: str | None
    stored: str

    @property
    def is_gguf(self) -> bool:
        """Whether llama.cpp computes it."""
        return self.stored in GGUF_FILES


def all_ways(quantisations: list[str]) -> list[str]:
    """Return the names of the ways that are tried, in the order of a table; `quantisations` are those of GGUF."""
    names = [AS_TRAINED, OVER_16_BIT, OVER_NF4, *(f"merged-{merge}" for merge in MERGES)]
    names += [f"merged-{merge}-{NF4}" for merge in MERGES]
    names += [f"merged-{merge}-{kind}" for kind in quantisations for merge in MERGES]
    return [*names, OVER_GGUF] if quantisations else names


def way_of(name: str) -> Way | None:
    """Return the way that has a name; None for a name that no way has."""
    if name in _WORDS:
        return Way(name, None, {OVER_NF4: NF4, OVER_GGUF: "f16"}.get(name, ""))
    start, _, rest = name.partition("-")
    merge, _, stored = rest.partition("-")
    known = start == "merged" and merge in MERGES and stored in ("", NF4, *GGUF_FILES)
    return Way(name, merge, stored) if known and not name.endswith("-") else None


def in_words(name: str) -> str:
    """Return what is done in a way."""
    way = way_of(name)
    if way is None or way.merge is None:
        return _WORDS[name]
    done = f"merged into {_BASES[way.merge]}"
    if way.is_gguf:
        return f"{done}, as a GGUF file in {way.stored}, by llama.cpp"
    return f"{done}, then NF4 again" if way.stored else f"{done}, in 16 bits"


def inapplicable(name: str, precision: str) -> str | None:
    """Return why a way is none for a run of a precision, or None where it is one."""
    way, quantised = way_of(name), precision in ("nf4", "fp4", "int8")
    assert way is not None
    if name == OVER_16_BIT and precision in ("fp16", "bf16"):
        return "it was trained over that base: see as-trained"
    if name == OVER_NF4 and precision == NF4:
        return "it was trained over that base: see as-trained"
    if way.merge == "dequantised" and not quantised:
        return f"its base, {precision}, is not quantised: see merged-original{f'-{way.stored}' if way.stored else ''}"
    return None
