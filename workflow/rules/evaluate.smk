# Perplexity over the validation split, in processes of their own.
rule evaluate_adapter:
    """Measure one run's perplexity: results/runs/RUN/evaluation.json."""
    input:
        training=rules.train_adapter.output.training,
        adapter=rules.train_adapter.output.adapter,
        base=base_of,
        model=rules.fetch_model.output.model,
        proof=rules.prove_model.output.proof,
        tokens=rules.tokenize_data.output.validation,
    output:
        evaluation="results/runs/{run}/evaluation.json",
        losses="results/runs/{run}/nll.parquet",
    params:
        job=lambda wc: job(
            IDENTITY["evaluation"](wc.run),
            budget_in_force(f"results/runs/{wc.run}/evaluation.json"),
            **requests.evaluation_request(STUDY, wc.run),
        ),
        limits=untracked(lambda: requests.limits(STUDY)),
        reuse=may_take_over("evaluate_adapter"),
    resources:
        **DEVICE,
    log:
        "results/runs/{run}/evaluation.log",
    conda:
        "../../envs/workflow.yaml"
    script:
        "../scripts/evaluate.py"


use rule evaluate_adapter as evaluate_base with:
    """Measure a base's perplexity without adapter: results/baselines/PRECISION/evaluation.json."""
    input:
        base=rules.prepare_base.output.base,
        model=rules.fetch_model.output.model,
        proof=rules.prove_model.output.proof,
        tokens=rules.tokenize_data.output.validation,
    output:
        evaluation="results/baselines/{precision}/evaluation.json",
        losses="results/baselines/{precision}/nll.parquet",
    params:
        job=lambda wc: job(
            IDENTITY["baseline"](wc.precision),
            budget_in_force(f"results/baselines/{wc.precision}/evaluation.json"),
            **requests.evaluation_request(STUDY, wc.precision),
        ),
    log:
        "results/baselines/{precision}/evaluation.log",
