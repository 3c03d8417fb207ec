# Greedy answers to the problems of the test split, or of the validation split where no test split is named.
rule fetch_test:
    """Fetch the test problems that accuracy is measured on: resources/examples/test.jsonl."""
    input:
        requests.test_files(STUDY),
        train=rules.fetch_data.output.train,
    output:
        test="resources/examples/test.jsonl",
    params:
        job=job(
            digest([requests.test_split(STUDY), IDENTITY["data"], CODE["fetch_test"]]),
            **requests.test_request(STUDY),
        ),
        accuracy=untracked(lambda: requests.measured_split(STUDY)),
    # What it says of the problems is said before the first training.
    priority: 1
    log:
        "results/logs/fetch_test.log",
    conda:
        "../../envs/workflow.yaml"
    script:
        "../scripts/fetch_test.py"


PROBLEMS = (
    rules.fetch_test.output.test
    if requests.test_split(STUDY)
    else rules.fetch_data.output.validation
)


rule measure_accuracy:
    """Have one run's model answer the problems: results/runs/RUN/accuracy.json."""
    input:
        training=rules.train_adapter.output.training,
        adapter=rules.train_adapter.output.adapter,
        base=base_of,
        model=rules.fetch_model.output.model,
        proof=rules.prove_model.output.proof,
        problems=PROBLEMS,
    output:
        accuracy="results/runs/{run}/accuracy.json",
        answers="results/runs/{run}/answers.parquet",
    params:
        job=lambda wc: job(
            IDENTITY["accuracy"](wc.run),
            budget_in_force(f"results/runs/{wc.run}/accuracy.json"),
            **requests.accuracy_request(STUDY, wc.run),
        ),
        limits=untracked(lambda: requests.limits(STUDY)),
        reuse=may_take_over("measure_accuracy"),
    resources:
        **DEVICE,
    log:
        "results/runs/{run}/accuracy.log",
    conda:
        "../../envs/workflow.yaml"
    script:
        "../scripts/measure_accuracy.py"


use rule measure_accuracy as measure_base_accuracy with:
    """Have a base without adapter answer the problems: results/baselines/PRECISION/accuracy.json."""
    input:
        base=rules.prepare_base.output.base,
        model=rules.fetch_model.output.model,
        proof=rules.prove_model.output.proof,
        problems=PROBLEMS,
    output:
        accuracy="results/baselines/{precision}/accuracy.json",
        answers="results/baselines/{precision}/answers.parquet",
    # Before the first training, so that problems which cannot be marked are told of there, whenever they were fetched.
    priority: 1
    params:
        job=lambda wc: job(
            IDENTITY["accuracy"](wc.precision),
            budget_in_force(f"results/baselines/{wc.precision}/accuracy.json"),
            **requests.accuracy_request(STUDY, wc.precision),
        ),
    log:
        "results/baselines/{precision}/accuracy.log",


rule gather_accuracy:
    """Put every run's accuracy into one table: results/accuracy.csv."""
    input:
        runs=lambda wc: expand("results/runs/{run}/accuracy.json", run=RUNS),
        bases=expand(
            "results/baselines/{precision}/accuracy.json", precision=PRECISIONS
        ),
    output:
        table=report(
            "results/accuracy.csv",
            caption="../report/accuracy.rst",
            category="Results",
        ),
    params:
        job=job(CODE["gather_accuracy"]),
    log:
        "results/logs/gather_accuracy.log",
    conda:
        "../../envs/workflow.yaml"
    script:
        "../scripts/gather_accuracy.py"
