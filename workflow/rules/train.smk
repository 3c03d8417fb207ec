# One job a configuration, with the accelerator to itself.
rule train_adapter:
    """Train one run and measure what it costs: results/runs/RUN/training.json and its adapter."""
    input:
        base=base_of,
        tokens=rules.tokenize_data.output.train,
        model=rules.fetch_model.output.model,
        proof=rules.prove_model.output.proof,
        material=rules.tokenize_data.output.tokens,
    output:
        training="results/runs/{run}/training.json",
        history="results/runs/{run}/history.csv",
        adapter=directory("results/runs/{run}/adapter"),
    params:
        job=lambda wc: job(
            IDENTITY["training"](wc.run),
            budget_in_force(f"results/runs/{wc.run}/training.json", skips=True),
            **requests.training_request(STUDY, wc.run),
        ),
        limits=untracked(lambda: requests.limits(STUDY)),
        report_to=untracked(lambda: STUDY["report_to"]),
        reuse=may_take_over("train_adapter"),
        plan=untracked(
            lambda: plan_requests.plan_request(STUDY) if STUDY["skip_hopeless"] else None
        ),
    resources:
        **DEVICES,
    log:
        "results/runs/{run}/training.log",
    conda:
        "../../envs/workflow.yaml"
    script:
        "../scripts/train_adapter.py"
