"""Other trainers on the work of compare_trainers.py, each as its own documentation has it.

A peer's libraries are needed, and imported, only where that peer is measured. `steps` gets each optimiser step's
seconds, forward and backward pass included, and its tokens without padding.
"""

import tempfile
import time

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "nf4": "bfloat16"}


def load_peer(args):
    """The base model and tokenizer as a peer's own documentation loads them, linear layers in NF4 where asked for."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    dtype = getattr(torch, args.peer_dtype or DTYPES[args.precision])
    if args.trainer == "unsloth":
        from unsloth import FastLanguageModel

        model, tokenizer = FastLanguageModel.from_pretrained(
            args.model, max_seq_length=512, dtype=dtype, load_in_4bit=args.precision == "nf4"
        )
        model = FastLanguageModel.get_peft_model(
            model,
            r=args.rank,
            lora_alpha=2 * args.rank,
            lora_dropout=0,
            target_modules=LINEAR,
            use_gradient_checkpointing="unsloth" if args.checkpointing else False,
            bias="none",
        )
        return model, tokenizer, dtype
    options = {"dtype": dtype, "device_map": {"": 0 if args.device == "cuda" else "cpu"}}
    if args.precision == "nf4":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    model = AutoModelForCausalLM.from_pretrained(args.model, **options)
    model.config.use_cache = False
    return model, AutoTokenizer.from_pretrained(args.model), dtype


def lora(args):
    from peft import LoraConfig

    return LoraConfig(
        r=args.rank, lora_alpha=2 * args.rank, lora_dropout=0.0, target_modules=LINEAR, task_type="CAUSAL_LM"
    )


def synchronize(args) -> None:
    import torch

    if args.device == "cuda":
        torch.cuda.synchronize()


def train_peft(args, rows: list[dict], steps: list) -> None:
    """A plain loop over PEFT's model, padded batches under autocast."""
    import torch
    from peft import get_peft_model, prepare_model_for_kbit_training

    model, _, dtype = load_peer(args)
    if args.precision == "nf4":
        model = prepare_model_for_kbit_training(
            model,
            use_gradient_checkpointing=args.checkpointing,
            gradient_checkpointing_kwargs={"use_reentrant": False},
        )
    elif args.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    if args.liger and args.device == "cuda":
        from liger_kernel.transformers import _apply_liger_kernel_to_instance

        _apply_liger_kernel_to_instance(model=model)
    model = get_peft_model(model, lora(args)).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.data = parameter.data.float()
    optimizer = torch.optim.AdamW(trained, lr=2e-4, fused=True)
    scaler = torch.amp.GradScaler(args.device, enabled=dtype == torch.float16)
    for step in range(args.steps):
        batch = rows[step * args.batch : (step + 1) * args.batch]
        lengths = [len(row["input_ids"]) for row in batch]
        fills = {"input_ids": 2, "labels": -100}
        padded = {
            key: torch.tensor([row[key] + [fill] * (max(lengths) - len(row[key])) for row in batch]).to(args.device)
            for key, fill in fills.items()
        }
        mask = torch.tensor([[1] * length + [0] * (max(lengths) - length) for length in lengths]).to(args.device)
        synchronize(args)
        begin = time.perf_counter()
        with torch.autocast(args.device, dtype=dtype):
            loss = model(**padded, attention_mask=mask).loss
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        synchronize(args)
        steps.append((time.perf_counter() - begin, sum(lengths)))


def train_trl(args, rows: list[dict], steps: list) -> None:
    """TRL's SFTTrainer, also under Unsloth, which patches it."""
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    model, tokenizer, dtype = load_peer(args)
    patched = args.trainer == "unsloth"
    counts: list[int] = []
    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_, **__):
            synchronize(args)
            self.begin = time.perf_counter()

        def on_step_end(self, *_, **__):
            synchronize(args)
            times.append(time.perf_counter() - self.begin)

    tokenizer.pad_token = tokenizer.eos_token
    config = SFTConfig(
        output_dir=tempfile.mkdtemp(),
        max_length=512,
        packing=False,
        padding_free=False,
        per_device_train_batch_size=args.batch,
        gradient_accumulation_steps=1,
        max_steps=args.steps,
        logging_steps=100,
        save_strategy="no",
        report_to="none",
        use_cpu=args.device == "cpu",
        bf16=dtype == torch.bfloat16,
        fp16=dtype == torch.float16,
        gradient_checkpointing=args.checkpointing and not patched,
        optim="adamw_torch_fused",
        learning_rate=2e-4,
        use_liger_kernel=args.liger and not patched and args.device == "cuda",
        disable_tqdm=True,
        dataset_kwargs={"skip_prepare_dataset": True} if patched else None,
    )
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list([{**row, "attention_mask": [1] * len(row["input_ids"])} for row in rows]),
        processing_class=tokenizer,
        callbacks=[Clock()],
        **({} if patched else {"peft_config": lora(args)}),
    )
    collate = trainer.data_collator

    def count(features):
        batch = collate(features)
        counts.append(int(batch["attention_mask"].sum()))
        return batch

    trainer.data_collator = count
    trainer.train()
    steps += list(zip(times, counts, strict=False))
