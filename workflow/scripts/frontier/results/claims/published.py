"""Quote the published study whose statements the claims are, and say where it contradicts itself.

It fine-tuned 7B-class models on GSM8K on an RTX 4050 of 6 GB: LoRA on an FP16 base, QLoRA on NF4 at ranks 8, 16, 32.
"""

# What it says, by the claim that judges it here.
PUBLISHED = {
    "fp16_exceeds_budget": "FP16 LoRA peaks at 15 to 16 GB on a card of 6 GB",
    "nf4_within_budget": "NF4 stays within 6 GB, at 5 to 10 GB",
    "nf4_speedup": "about 31 h for FP16 and 2 to 3 h for NF4: 10 to 16 times as fast",
    "fp16_best_quality": "FP16 has the best perplexity (called the highest)",
    "nf4_quality_gap": "NF4 at r = 8 is close to FP16",
    "rank_monotone": "perplexity falls from r = 8 to 16 to 32",
    "diminishing_returns": "much is gained from r = 8 to 16 and little from 16 to 32",
    "knee": "a knee at r = 16",
    "rank_time": "r = 32 takes the same time as r = 16, and substantially more",
}
# What it says, what it says against that, and the claim here that settles which of the two holds.
CONTRADICTIONS = (
    ("NF4 runs stay within the card's 6 GB", "they take 5 to 10 GB, which contradicts it", "nf4_within_budget"),
    ("FP16's perplexity is the highest", "its quality is the best, and lower is better", "fp16_best_quality"),
    ("NF4 at r = 8 is noticeably bad", "NF4 at r = 8 is close to FP16", "nf4_quality_gap"),
    ("r = 32 takes the same time", "r = 32 takes substantially more time", "rank_time"),
)
