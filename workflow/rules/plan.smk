# What each run will need and take, before any of them starts.
rule calibrate_device:
    """Measure what the device that is there can do, for the plan: results/calibration.json."""
    output:
        calibration="results/calibration.json",
    params:
        job=job(CODE["calibrate_device"], **requests.device_request(STUDY)),
    resources:
        **DEVICE,
    log:
        "results/logs/calibrate_device.log",
    conda:
        "../../envs/workflow.yaml"
    script:
        "../scripts/calibrate_device.py"


rule plan_runs:
    """Predict the memory and time of each run before any starts: results/plan.csv."""
    input:
        **(
            {"calibration": rules.calibrate_device.output.calibration}
            if STUDY["plan"]["card"] == "auto"
            else {}
        ),
        shape=requests.shape_files(STUDY),
    output:
        plan=report(
            "results/plan.csv",
            caption="../report/plan.rst",
            category="Plan",
        ),
    params:
        job=lambda wc: job(CODE["plan_runs"], **plan_requests.plan_request(STUDY)),
    log:
        "results/logs/plan_runs.log",
    conda:
        "../../envs/workflow.yaml"
    script:
        "../scripts/plan_runs.py"


rule draw_plan:
    """Draw the plan: results/figures/plan.png and .svg."""
    input:
        plan=rules.plan_runs.output.plan,
    output:
        report(
            expand("results/figures/plan.{kind}", kind=["png", "svg"]),
            caption="../report/plan.rst",
            category="Plan",
        ),
    params:
        job=lambda wc: job(CODE["draw_plan"], **plan_requests.plan_limit(STUDY)),
    log:
        "results/logs/draw_plan.log",
    conda:
        "../../envs/workflow.yaml"
    script:
        "../scripts/draw_plan.py"


rule ask_card:
    """Say which models, ranks, lengths and batches fit a card, and how long they take: results/options.csv."""
    input:
        shape=requests.shape_files(STUDY),
        shapes=paths.SHAPES,
    output:
        options="results/options.csv",
        least="results/options.json",
    params:
        job=lambda wc: job(CODE["ask_card"], **plan_requests.ask_request(STUDY)),
    log:
        "results/logs/ask_card.log",
    conda:
        "../../envs/workflow.yaml"
    script:
        "../scripts/ask_card.py"


rule draw_options:
    """Draw what fits a card, by size and precision: results/figures/options.png and .svg."""
    input:
        least=rules.ask_card.output.least,
    output:
        expand("results/figures/options.{kind}", kind=["png", "svg"]),
    params:
        job=lambda wc: job(CODE["draw_options"]),
    log:
        "results/logs/draw_options.log",
    conda:
        "../../envs/workflow.yaml"
    script:
        "../scripts/draw_options.py"
