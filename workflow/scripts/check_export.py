"""Compare a GGUF file's logits with transformers', for one merge or for the adapter."""

from frontier.jobs import supervise

supervise.run_job("run.shipping.exports.check_export", snakemake)
