# What is shipped of a run, and what each way of using its adapter costs.
wildcard_constraints:
    way=r"(?:over|merged)-[A-Za-z0-9_-]+",
    # What is no quantisation is refused in a line of its own.
    quantisation=r"(?!adapter\.)[A-Za-z0-9_]+",


checkpoint choose_shipped:
    """Name the run to ship, the recommended one: results/shipping/runs.json."""
    input:
        summary=rules.summarize_runs.output.summary,
        losses=lambda wc: expand("results/runs/{run}/nll.parquet", run=RUNS),
        baselines=lambda wc: expand(
            "results/baselines/{precision}/nll.parquet", precision=PRECISIONS
        ),
    output:
        runs="results/shipping/runs.json",
    params:
        job=job(
            CODE["choose_shipped"],
            budget=STUDY["budget"],
            recommend=STUDY["recommend"],
        ),
    log:
        "results/logs/choose_shipped.log",
    conda:
        "../../envs/workflow.yaml"
    script:
        "../scripts/choose_shipped.py"


rule check_export:
    """Compare llama.cpp's logits with transformers': results/shipping/RUN/export.json."""
    input:
        training=rules.train_adapter.output.training,
        adapter=rules.train_adapter.output.adapter,
        base=base_of,
        model=rules.fetch_model.output.model,
        proof=rules.prove_model.output.proof,
        tokens=rules.tokenize_data.output.validation,
    output:
        export="results/shipping/{run}/export.json",
    params:
        job=lambda wc: shipping_job(
            "check_export",
            wc.run,
            shipping.export_request(STUDY, wc.run),
        ),
    resources:
        **DEVICE,
    log:
        "results/shipping/{run}/export.log",
    conda:
        "../../envs/workflow.yaml"
    script:
        "../scripts/check_export.py"


rule measure_way:
    """Judge one way of using a run's adapter: results/shipping/RUN/WAY.json."""
    input:
        unpack(inputs_of_way),
        training=rules.train_adapter.output.training,
        adapter=rules.train_adapter.output.adapter,
        base=base_of,
        model=rules.fetch_model.output.model,
        proof=rules.prove_model.output.proof,
        tokens=rules.tokenize_data.output.validation,
        problems=PROBLEMS if STUDY["accuracy"]["measure"] else [],
    output:
        evaluation="results/shipping/{run}/{way}.json",
        losses="results/shipping/{run}/{way}.parquet",
    params:
        job=lambda wc: shipping_job(
            "measure_way",
            wc.run,
            shipping.way_request(STUDY, wc.run, wc.way),
            budget_in_force(f"results/shipping/{wc.run}/{wc.way}.json"),
        ),
        limits=untracked(lambda: requests.limits(STUDY)),
    resources:
        **DEVICE,
    log:
        "results/shipping/{run}/{way}.log",
    conda:
        "../../envs/workflow.yaml"
    script:
        "../scripts/measure_way.py"


rule gather_shipping:
    """Set each way of using an adapter against the run as it was trained: results/shipping.csv."""
    input:
        trainings=lambda wc: expand(
            "results/runs/{run}/training.json", run=shipped_runs()
        ),
        evaluations=lambda wc: expand(
            "results/runs/{run}/evaluation.json", run=shipped_runs()
        ),
        losses=lambda wc: expand("results/runs/{run}/nll.parquet", run=shipped_runs()),
        accuracies=lambda wc: (
            expand("results/runs/{run}/accuracy.json", run=shipped_runs())
            if STUDY["accuracy"]["measure"]
            else []
        ),
        ways=lambda wc: [
            f"results/shipping/{run}/{way}.json"
            for run in shipped_runs()
            for way in shipping.ways_of(STUDY, run)
        ],
    output:
        table=report(
            "results/shipping.csv",
            caption="../report/shipping.rst",
            category="Results",
        ),
    params:
        job=lambda wc: job(
            CODE["gather_shipping"],
            runs=shipped_runs(),
            quantisations=STUDY["shipping"]["quantisations"],
            accuracy=STUDY["accuracy"]["measure"],
        ),
    log:
        "results/logs/gather_shipping.log",
    conda:
        "../../envs/workflow.yaml"
    script:
        "../scripts/gather_shipping.py"


rule draw_shipping:
    """Draw what each way of using an adapter costs: results/figures/shipping.png and .svg."""
    input:
        table=rules.gather_shipping.output.table,
    output:
        report(
            expand("results/figures/shipping.{kind}", kind=["png", "svg"]),
            caption="../report/shipping.rst",
            category="Figures",
        ),
    params:
        job=job(CODE["draw_shipping"]),
    log:
        "results/logs/draw_shipping.log",
    conda:
        "../../envs/workflow.yaml"
    script:
        "../scripts/draw_shipping.py"


rule write_card:
    """Write the card beside a run's adapter: results/shipping/RUN/card.md."""
    input:
        training=rules.train_adapter.output.training,
        evaluation=rules.evaluate_adapter.output.evaluation,
        losses=rules.evaluate_adapter.output.losses,
        model=rules.fetch_model.output.model,
        accuracy=(
            rules.measure_accuracy.output.accuracy
            if STUDY["accuracy"]["measure"]
            else []
        ),
    output:
        card="results/shipping/{run}/card.md",
    params:
        job=lambda wc: job(CODE["write_card"], **shipping.card_request(STUDY, wc.run)),
    log:
        "results/shipping/{run}/card.log",
    conda:
        "../../envs/workflow.yaml"
    script:
        "../scripts/write_card.py"


rule ship_adapter:
    """Write a run's adapter for others, its card beside it: results/shipped/RUN/adapter/."""
    input:
        training=rules.train_adapter.output.training,
        adapter=rules.train_adapter.output.adapter,
        base=base_of,
        model=rules.fetch_model.output.model,
        proof=rules.prove_model.output.proof,
        tokens=rules.tokenize_data.output.validation,
        evaluation=rules.evaluate_adapter.output.evaluation,
        card=rules.write_card.output.card,
    output:
        adapter=directory("results/shipped/{run}/adapter"),
    params:
        job=lambda wc: shipping_job(
            "ship_adapter",
            wc.run,
            requests.evaluation_request(STUDY, wc.run),
        ),
    resources:
        **DEVICE,
    log:
        "results/shipping/{run}/ship_adapter.log",
    conda:
        "../../envs/workflow.yaml"
    script:
        "../scripts/ship_adapter.py"


rule ship_merged:
    """Write a run's merged model for transformers and vLLM: results/shipped/RUN/merged/."""
    input:
        unpack(merges_of),
        training=rules.train_adapter.output.training,
        adapter=rules.train_adapter.output.adapter,
        base=base_of,
        model=rules.fetch_model.output.model,
        proof=rules.prove_model.output.proof,
        tokens=rules.tokenize_data.output.validation,
    output:
        merged=directory("results/shipped/{run}/merged"),
        record="results/shipping/{run}/merged.json",
    params:
        job=lambda wc: shipping_job(
            "ship_merged",
            wc.run,
            requests.evaluation_request(STUDY, wc.run),
        ),
    resources:
        **DEVICE,
    log:
        "results/shipping/{run}/ship_merged.log",
    conda:
        "../../envs/workflow.yaml"
    script:
        "../scripts/ship_merged.py"


rule ship_gguf:
    """Write a run's merged model for llama.cpp: results/shipped/RUN/RUN-QUANTISATION.gguf."""
    input:
        training=rules.train_adapter.output.training,
        adapter=rules.train_adapter.output.adapter,
        base=base_of_gguf,
        model=rules.fetch_model.output.model,
        proof=rules.prove_model.output.proof,
        tokens=rules.tokenize_data.output.validation,
        merged=rules.ship_merged.output.merged,
        record=rules.ship_merged.output.record,
    output:
        gguf="results/shipped/{run}/{run}-{quantisation}.gguf",
    params:
        job=lambda wc: shipping_job(
            "ship_gguf",
            wc.run,
            shipping.gguf_request(STUDY, wc.run, wc.quantisation),
        ),
    resources:
        **DEVICE,
    log:
        "results/shipping/{run}/ship_gguf-{quantisation}.log",
    conda:
        "../../envs/workflow.yaml"
    script:
        "../scripts/ship_gguf.py"


rule ship_adapter_gguf:
    """Write a run's adapter for llama.cpp: results/shipped/RUN/RUN-adapter.gguf."""
    input:
        training=rules.train_adapter.output.training,
        adapter=rules.train_adapter.output.adapter,
        base=base_of,
        model=rules.fetch_model.output.model,
        proof=rules.prove_model.output.proof,
        tokens=rules.tokenize_data.output.validation,
    output:
        gguf="results/shipped/{run}/{run}-adapter.gguf",
    params:
        job=lambda wc: shipping_job(
            "ship_adapter_gguf",
            wc.run,
            shipping.gguf_request(STUDY, wc.run, "adapter"),
        ),
    resources:
        **DEVICE,
    log:
        "results/shipping/{run}/ship_adapter_gguf.log",
    conda:
        "../../envs/workflow.yaml"
    script:
        "../scripts/ship_adapter_gguf.py"
