# From records to a table and figures. An input that names every run is a function, which no other rule's job calls:
# each job of a cluster reads all these rules again.
PAGE = Path(workflow.basedir) / "workflow" / "report"
# What others have published, which the findings hold against the runs.
CLAIMS = Path(workflow.basedir) / "config" / "claims.yaml"


rule summarize_runs:
    """Put all runs into one table, and whatever it still needs: results/summary.csv."""
    input:
        trainings=lambda wc: expand("results/runs/{run}/training.json", run=RUNS),
        evaluations=lambda wc: expand("results/runs/{run}/evaluation.json", run=RUNS),
        losses=lambda wc: expand("results/runs/{run}/nll.parquet", run=RUNS),
        baselines=expand(
            "results/baselines/{precision}/evaluation.json", precision=PRECISIONS
        ),
        base_losses=expand(
            "results/baselines/{precision}/nll.parquet", precision=PRECISIONS
        ),
        plan="results/plan.csv" if Path("results/plan.csv").exists() else [],
        config=CONFIG_FILE,
        materials=lambda wc: materials(),
        accuracy=(
            rules.gather_accuracy.output.table
            if STUDY["accuracy"]["measure"]
            else []
        ),
    output:
        summary=report(
            "results/summary.csv",
            caption="../report/summary.rst",
            category="Results",
        ),
    params:
        job=lambda wc: job(
            CODE["summarize_runs"],
            expected={
                "trainings": [*map(IDENTITY["training"], RUNS)],
                "evaluations": [*map(IDENTITY["evaluation"], RUNS)],
                "baselines": [*map(IDENTITY["baseline"], PRECISIONS)],
            },
            budget=STUDY["budget"],
            varied=runs.varied(STUDY, RUNS),
        ),
    log:
        "results/logs/summarize_runs.log",
    conda:
        "../../envs/workflow.yaml"
    script:
        "../scripts/summarize_runs.py"


rule merge_summaries:
    """Put the tables of the studies in `merge` into one: results/merged.csv."""
    input:
        summaries_to_merge,
    output:
        merged="results/merged.csv",
    params:
        job=job(CODE["merge_summaries"], folders=STUDY["merge"]),
    log:
        "results/logs/merge_summaries.log",
    conda:
        "../../envs/workflow.yaml"
    script:
        "../scripts/merge_summaries.py"


rule write_merged:
    """Write the page of the studies in `merge`: results/merged.html."""
    input:
        summaries_to_merge,
    output:
        page="results/merged.html",
    params:
        job=job(
            digest(
                [
                    CODE["write_merged"],
                    *(
                        (PAGE / name).read_text("utf-8")
                        for name in (
                            "merged.html.jinja",
                            "report.css",
                            "report.table.jinja",
                        )
                    ),
                ]
            ),
            folders=STUDY["merge"],
            budget=STUDY["budget"],
            recommend=STUDY["recommend"],
        ),
    log:
        "results/logs/write_merged.log",
    conda:
        "../../envs/workflow.yaml"
    script:
        "../scripts/write_merged.py"


rule state_findings:
    """Judge the claims by the runs: results/findings.md."""
    input:
        summary=rules.summarize_runs.output.summary,
        losses=lambda wc: expand("results/runs/{run}/nll.parquet", run=RUNS),
        histories=lambda wc: expand("results/runs/{run}/history.csv", run=RUNS),
        baselines=expand(
            "results/baselines/{precision}/nll.parquet", precision=PRECISIONS
        ),
        shipping="results/shipping.csv" if STUDY["shipping"]["measure"] else [],
    output:
        findings="results/findings.json",
        page=report(
            "results/findings.md",
            caption="../report/findings.rst",
            category="Results",
        ),
    params:
        job=job(
            digest([CODE["state_findings"], CLAIMS.read_text("utf-8")]),
            runs=RUNS,
            precisions=PRECISIONS,
            budget=STUDY["budget"],
            recommend=STUDY["recommend"],
            targets=STUDY["lora"]["targets"],
        ),
    log:
        "results/logs/state_findings.log",
    conda:
        "../../envs/workflow.yaml"
    script:
        "../scripts/state_findings.py"


rule draw_figures:
    """Draw the runs: results/figures/."""
    input:
        summary=rules.summarize_runs.output.summary,
        findings=rules.state_findings.output.findings,
        histories=lambda wc: expand("results/runs/{run}/history.csv", run=RUNS),
        losses=lambda wc: expand("results/runs/{run}/nll.parquet", run=RUNS),
    output:
        report(
            expand(
                "results/figures/{name}.{kind}",
                name=[
                    "perplexity_memory",
                    "perplexity_time",
                    "memory_time",
                    "perplexity_rank",
                    "training_curves",
                ],
                kind=["png", "svg"],
            ),
            caption="../report/figures.rst",
            category="Figures",
        ),
    params:
        job=job(CODE["draw_figures"], budget=STUDY["budget"]),
    log:
        "results/logs/draw_figures.log",
    conda:
        "../../envs/workflow.yaml"
    script:
        "../scripts/draw_figures.py"


rule write_report:
    """Write the study as one page: results/report.html."""
    input:
        summary=rules.summarize_runs.output.summary,
        findings=rules.state_findings.output.findings,
        histories=lambda wc: expand("results/runs/{run}/history.csv", run=RUNS),
        losses=lambda wc: expand("results/runs/{run}/nll.parquet", run=RUNS),
        trainings=lambda wc: expand("results/runs/{run}/training.json", run=RUNS),
        tokens=rules.tokenize_data.output.tokens,
        model=rules.fetch_model.output.model,
        shipping="results/shipping.csv" if STUDY["shipping"]["measure"] else [],
    output:
        report=report(
            "results/report.html",
            caption="../report/report.rst",
            category="Results",
        ),
    params:
        job=job(
            digest(
                [CODE["write_report"], *(p.read_text() for p in sorted(PAGE.glob("report.*")))]
            ),
            study=requests.without_trackers(STUDY),
        ),
    log:
        "results/logs/write_report.log",
    conda:
        "../../envs/workflow.yaml"
    script:
        "../scripts/write_report.py"
