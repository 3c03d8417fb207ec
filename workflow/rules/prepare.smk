# What every run shares: the model, its bases, the examples and their tokens.
rule fetch_model:
    """Fetch the model and look whether it is whole: resources/model.json."""
    input:
        requests.model_files(STUDY),
    output:
        model="resources/model.json",
    params:
        job=job(
            IDENTITY["model"],
            model=STUDY["model"],
            tokenizer_model=embedded.EMBEDDED_MODEL,
        ),
    log:
        "results/logs/fetch_model.log",
    conda:
        "../../envs/workflow.yaml"
    script:
        "../scripts/fetch_model.py"


rule prove_model:
    """Prove that the losses computed here are the model's own: resources/proof.json."""
    input:
        model=rules.fetch_model.output.model,
    output:
        proof="resources/proof.json",
    params:
        job=job(IDENTITY["proof"], **requests.device_request(STUDY)),
    resources:
        **DEVICE,
    log:
        "results/logs/prove_model.log",
    conda:
        "../../envs/workflow.yaml"
    script:
        "../scripts/prove_model.py"


rule prepare_base:
    """Convert the model to one precision: resources/bases/PRECISION.json."""
    input:
        model=rules.fetch_model.output.model,
        proof=rules.prove_model.output.proof,
    output:
        base="resources/bases/{precision}.json",
    params:
        job=lambda wc: job(
            IDENTITY["base"](wc.precision),
            precision=wc.precision,
            **requests.device_request(STUDY),
        ),
    resources:
        **DEVICE,
    log:
        "results/logs/prepare_base-{precision}.log",
    conda:
        "../../envs/workflow.yaml"
    script:
        "../scripts/prepare_base.py"


rule fetch_data:
    """Fetch the examples and split them: resources/examples/."""
    input:
        requests.data_files(STUDY),
    output:
        train="resources/examples/train.jsonl",
        validation="resources/examples/validation.jsonl",
        examples="resources/examples/examples.json",
    params:
        job=job(IDENTITY["data"], **requests.data_request(STUDY)),
        accuracy=untracked(lambda: requests.measured_split(STUDY)),
    log:
        "results/logs/fetch_data.log",
    conda:
        "../../envs/workflow.yaml"
    script:
        "../scripts/fetch_data.py"


rule tokenize_data:
    """Turn the examples into tokens: resources/tokens/."""
    input:
        model=rules.fetch_model.output.model,
        train=rules.fetch_data.output.train,
        validation=rules.fetch_data.output.validation,
        examples=rules.fetch_data.output.examples,
    output:
        train="resources/tokens/train.parquet",
        validation="resources/tokens/validation.parquet",
        tokens="resources/tokens/tokens.json",
    params:
        job=job(IDENTITY["tokens"], **requests.tokens_request(STUDY)),
    log:
        "results/logs/tokenize_data.log",
    conda:
        "../../envs/workflow.yaml"
    script:
        "../scripts/tokenize_data.py"
