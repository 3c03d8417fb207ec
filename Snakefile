# Measure LoRA against QLoRA on this machine: fetch, tokenise, train, evaluate, summarise, draw.
from snakemake.utils import min_version

min_version("9.27.1")


include: "workflow/rules/configuration.smk"


configfile: CONFIG_FILE


include: "workflow/rules/common.smk"
include: "workflow/rules/prepare.smk"
include: "workflow/rules/plan.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/accuracy.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/shipping.smk"
include: "workflow/rules/status.smk"


# Short enough to run where Snakemake does, whatever runs the others.
localrules:
    all,
    fetch_model,
    fetch_data,
    tokenize_data,
    fetch_test,
    gather_accuracy,
    summarize_runs,
    merge_summaries,
    write_merged,
    state_findings,
    draw_figures,
    write_report,
    choose_shipped,
    gather_shipping,
    draw_shipping,
    write_card,
    plan_runs,
    draw_plan,
    ask_card,
    draw_options,
    status,


# Ctrl-C and SIGTERM stop the jobs, each after a checkpoint; on a cluster Snakemake cancels them itself.
onstart:
    if not sent_away:
        stopping.stop_jobs_on_signal()


rule all:
    """Make the table, the findings, the figures and the report, and whatever they still need."""
    default_target: True
    input:
        rules.summarize_runs.output.summary,
        rules.state_findings.output,
        rules.draw_figures.output,
        rules.write_report.output,
        rules.draw_shipping.output if STUDY["shipping"]["measure"] else [],
