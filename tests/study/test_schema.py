"""Configurations: what is completed, what is refused, and with which line."""

import copy
import re
import subprocess
import sys

import jsonschema
import pytest
import yaml
from conftest import ROOT
from frontier.errors import UserError
from frontier.machine import gpus
from frontier.study import annotation, documentation, embedded, identities, preflight, runs
from frontier.study.json_schema import schema_of_all
from frontier.study.keys import configuration
from frontier.study.keys.key import Key, Section
from frontier.study.keys.kinds import whole
from frontier.study.schema import resolve

SHIPPED = yaml.safe_load((ROOT / "config/config.yaml").read_text("utf-8"))
JSONL = {"source": "jsonl", "train_file": "train.jsonl"}

REFUSED = [
    ({"learning_rte": 1}, "config: learning_rte: unknown key; did you mean learning_rate?"),
    ({"zzz": 1}, "config: zzz: unknown key; takes "),
    ({"lora": {"alfa": 1}}, "config: lora.alfa: unknown key; did you mean alpha?"),
    ({"ranks": [8, -8]}, "config: ranks.1: got -8, takes a whole number from 1 to 4096"),
    ({"ranks": [8, 2.5]}, "config: ranks.1: got 2.5, takes a whole number from 1 to 4096"),
    ({"ranks": []}, "config: ranks: got [], takes a list of different ranks, at least one"),
    (
        {"ranks": None},
        "config: ranks: got nothing, takes a list of different ranks, at least one; left out, it takes its default",
    ),
    ({"lora": None}, "config: lora: got nothing, takes a section of LoRA's settings; left out, it takes its default"),
    ({"ranks": [8, None]}, "config: ranks.1: got nothing, takes a whole number from 1 to 4096"),
    ({"ranks": 8}, "config: ranks: got 8, takes a list of different ranks, at least one"),
    ({"ranks": [8, 8]}, "config: ranks: got [8, 8], takes a list of different ranks, at least one"),
    ({"seeds": []}, "config: seeds: got [], takes a list of different seeds, at least one"),
    ({"precisions": []}, "config: precisions: got [], takes a list of different precisions, at least one"),
    ({"precisions": ["fp17"]}, 'config: precisions.0: got "fp17", takes one of fp32, bf16, fp16, nf4, fp4, int8'),
    ({"extra_runs": ["nf4-r16-s0"]}, "config: extra_runs: got nf4-r16-s0, takes runs that are not in the grid already"),
    (
        {"extra_runs": ["nf4-16"]},
        'config: extra_runs.0: got "nf4-16", takes a run\'s name, PRECISION-rRANK-sSEED, say nf4-r64-s0',
    ),
    ({"extra_runs": ["../nf4-r1-s0"]}, 'config: extra_runs.0: got "../nf4-r1-s0", takes a run\'s name'),
    ({"learning_rate": 0}, "config: learning_rate: got 0, takes a number above 0"),
    ({"learning_rate": "fast"}, 'config: learning_rate: got "fast", takes a number above 0'),
    ({"learning_rate": float("nan")}, "config: learning_rate: got NaN, takes a number above 0"),
    ({"batch_size": True}, "config: batch_size: got true, takes a whole number from 1"),
    ({"micro_batch_size": 3}, "config: micro_batch_size: got 3, takes a whole number that divides batch_size, 4"),
    ({"steps": None}, "config: steps: got nothing with epochs nothing, takes one of the two"),
    ({"epochs": 2}, "config: steps: got 10 with epochs 2, takes one of the two"),
    ({"lora": {"alpha": "r2"}}, 'config: lora.alpha: got "r2", takes a number above 0, or a multiple of the rank'),
    ({"lora": {"dropout": 1}}, "config: lora.dropout: got 1, takes a number from 0 to below 1"),
    ({"model": None}, "config: model: got nothing, takes a section with a source"),
    (
        {"model": {"source": "zip"}},
        'config: model.source: got "zip", takes one of package, hub, path, architecture, shape',
    ),
    ({"model": {"source": "path"}}, "config: model.path: missing; takes a folder with config.json and safetensors"),
    ({"data": {"source": "jsonl"}}, "config: data.train_file: missing; takes a file of JSON lines"),
    ({"data": JSONL | {"template": "no place"}}, 'config: data.template: got "no place", takes a text with {question}'),
    (
        {"data": JSONL | {"template": "{question}\n{answer}"}},
        "config: data.template: got one with {answer}, takes the text before the answer alone",
    ),
    (
        {"data": JSONL | {"template": "{question}{context}\n"}},
        "config: data.template: got one with {context}, takes the text before the answer alone, in which {question} is",
    ),
    ({"data": JSONL | {"template": "{}{question}"}}, "config: data.template: got one with {}, takes the text before"),
    (
        {"data": JSONL | {"template": "{% for m in messages %}{question}{% endfor %}"}},
        "config: data.template: got one with {%, as chat templates in Jinja have it; takes the text itself that stands",
    ),
    (
        {"data": JSONL | {"question_column": "answer"}},
        "config: data.answer_column: got answer, which is data.question_column too, takes another",
    ),
    ({"data": JSONL | {"template": "{{question}} "}}, "config: data.template: got one with {{, as chat templates in"),
    ({"device": "tpu"}, 'config: device: got "tpu", takes auto, cpu, cuda or cuda:N'),
    ({"cpu_threads": 0}, "config: cpu_threads: got 0, takes a whole number from 1, or empty for every physical core"),
    ({"evaluation": {"batch_size": 0}}, "config: evaluation.batch_size: got 0, takes a whole number from 1"),
    ({"plan": {"card": "RTX 9999 Imaginary"}}, "config: plan.card: got RTX 9999 Imaginary; "),
    ({"processes": 0}, "config: processes: got 0, takes a whole number from 1 to 64"),
    ({"processes": 3}, "config: processes: got 3, takes a whole number that divides batch_size, 4"),
    ({"accuracy": {"\n": None}}, r"config: accuracy.\n: unknown key; takes measure, examples"),
    ({"device": "a\u2028b"}, r'config: device: got "a\u2028b", takes auto, cpu, cuda or cuda:N'),
    ({"processes": 2, "micro_batch_size": 4}, "config: micro_batch_size: got 4 with processes 2, takes a whole number"),
    ({"processes": 2, "precisions": ["int8"]}, "config: precisions: got int8 with processes 2, takes it with"),
    (
        {"processes": 2, "optimizer": "adamw_8bit"},
        "config: optimizer: got adamw_8bit with processes 2, takes adamw_torch",
    ),
    (
        {"processes": 2, "lora": {"dtype": "bfloat16"}},
        "config: lora.dtype: got bfloat16 with processes 2, takes it with processes 1 alone",
    ),
    (
        {"processes": 2, "device": "cuda:1"},
        "config: device: got cuda:1 with processes 2, takes auto, cpu or cuda there",
    ),
]


@pytest.mark.parametrize(("change", "line"), REFUSED, ids=[str(change) for change, _ in REFUSED])
def test_refused_in_one_line_that_names_key_value_and_what_it_takes(change, line):
    with pytest.raises(UserError) as refusal:
        resolve(SHIPPED | change)
    assert str(refusal.value).startswith(line)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "template", ["{question} in \\boxed{x} or \\frac{a}{b}", '{question} as {"a": 1}', "{question}{"]
)
def test_braces_that_are_no_place_are_text(template):
    assert resolve(SHIPPED | {"data": JSONL | {"template": template}})["data"]["template"] == template


def test_shipped_configuration_says_every_key_and_nothing_else():
    """A key added to the keys alone, or to the file alone, fails here."""
    resolved = resolve(SHIPPED)
    assert resolved == SHIPPED
    assert list(resolved) == list(SHIPPED)


def test_the_shipped_model_is_the_embedded_one():
    assert SHIPPED["model"] == embedded.EMBEDDED_MODEL


def every_key():
    for entry in configuration.CONFIGURATION:
        if isinstance(entry, Key):
            yield entry.name, entry
        elif isinstance(entry, Section):
            yield from ((f"{entry.name}.{key.name}", key) for key in entry.keys)
        else:
            for source in entry.sources:
                yield from ((f"{entry.name}.{source}.{key.name}", key) for key in entry.keys_of(source))


@pytest.mark.parametrize(("place", "key"), [*every_key()], ids=lambda value: value if isinstance(value, str) else "")
def test_every_key_says_what_it_takes_and_takes_its_default(place, key):
    def parts(schema):
        """What a refusal may be about, for which it needs words: the value, its items, its keys."""
        yield schema
        for part in [*schema.get("properties", {}).values(), *filter(None, [schema.get("items")])]:
            yield from parts(part)

    assert all(part["description"] for part in parts(key.kind.schema()))
    assert key.kind.schema()["description"] == key.kind.takes
    jsonschema.Draft202012Validator.check_schema(key.kind.schema())
    if not key.is_required:
        jsonschema.validate(key.default, key.kind.schema())
    assert key.part in ("", "training", "tokens", "test")


@pytest.mark.parametrize("path", [*documentation.documents()], ids=lambda path: path.name)
def test_what_is_written_of_the_keys_is_what_the_keys_say(path):
    """`make docs` writes it: the tables of config/README.md, the comments of config/config.yaml, the JSON schema."""
    assert path.read_text("utf-8") == documentation.documents()[path], "run make docs"


def test_the_configuration_has_the_order_of_the_keys():
    places = [place for place, _ in annotation.entries_of(SHIPPED)]
    sections = {key: value for key, value in SHIPPED.items() if isinstance(value, dict)}
    written = [
        place
        for key in SHIPPED
        for place in [key, *(f"{key}.{name}" for name in sections.get(key, ()) if name != "source")]
    ]
    assert written == places


def test_a_key_is_one_entry(monkeypatch):
    """Added to the keys alone, it is completed, checked, written down, and named among a training's settings."""
    known = annotation.CONFIGURATION
    at = next(index for index, entry in enumerate(known) if entry.name == "batch_size")
    added = Key("neftune_alpha", whole(1, 99), default=7, buys="noise: | less overfitting", part="training")
    new = [*known[: at + 1], added, *known[at + 1 :]]
    for module in ("annotation.CONFIGURATION", "keys.configuration.CONFIGURATION"):
        monkeypatch.setattr(f"frontier.study.{module}", new)
    for module in ("json_schema", "documentation"):
        monkeypatch.setattr(f"frontier.study.{module}.OPTIONAL", new[2:])
    assert resolve(SHIPPED)["neftune_alpha"] == 7
    with pytest.raises(UserError, match=r"^config: neftune_alpha: got 0, takes a whole number from 1 to 99$"):
        resolve(SHIPPED | {"neftune_alpha": 0})
    before = (ROOT / "config/config.yaml").read_text("utf-8").splitlines()
    after = annotation.annotated("\n".join(before) + "\n").splitlines()
    line = "neftune_alpha: 7            # noise: | less overfitting"
    assert [one for one in after if one not in before] == [line]
    assert after[after.index(line) - 1].startswith("batch_size: 4")
    row = "| `neftune_alpha` | a whole number from 1 to 99 | `7` | noise: \\| less overfitting |"
    assert row in documentation.tables()["optional"].splitlines()
    assert configuration.names_of("training")[5:7] == ["batch_size", "neftune_alpha"]


def test_what_the_text_of_a_configuration_keeps():
    """Values and their spelling, comments of one's own, and what looks like a comment within quotes."""
    text = (ROOT / "config/config.yaml").read_text("utf-8")
    edited = text.replace("schedule: cosine", "schedule: linear # mine").replace("Answer: ", "#1 # Answer: ")
    edited = edited.replace("learning_rate: 2.0e-3", "learning_rate: 2e-3  ")
    assert annotation.annotated(edited) == edited
    assert annotation.annotated(text.replace("# examples per optimiser step", "# something else")) == text
    assert annotation.annotated(re.sub(r" *# .*(?=\nranks)", "", text)) == text
    assert yaml.safe_load(annotation.annotated(text.replace("  rslora: false", "#"))) == SHIPPED
    without_section = re.sub(r"budget:.*\n(  .*\n)+", "", text)
    assert yaml.safe_load(annotation.annotated(without_section)) == SHIPPED


def test_a_page_without_a_table_of_some_keys_is_refused():
    page = documentation.README.read_text("utf-8")
    with pytest.raises(ValueError, match=r"model\.hub"):
        documentation.with_tables(page.replace("keys: model.hub;", "keys: model.hubb;"))


def test_the_schema_for_editors_takes_what_is_shipped_and_refuses_as_the_workflow_does():
    editor = jsonschema.Draft202012Validator(schema_of_all())
    for path in [ROOT / "config/config.yaml", *ROOT.glob("studies/*/config/config.yaml")]:
        editor.validate(yaml.safe_load(path.read_text("utf-8")))
    assert not editor.is_valid(SHIPPED | {"model": SHIPPED["model"] | {"source": "hub"}})
    for change, line in REFUSED:
        if "unknown key" in line or "missing" in line:
            assert not editor.is_valid(SHIPPED | change), line


def test_the_configuration_that_the_readme_shows_is_accepted():
    (shown,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    study = resolve(yaml.safe_load(shown))
    assert len(runs.run_names(study)) == 54


def test_numbers_that_yaml_reads_as_text():
    assert resolve(SHIPPED | {"learning_rate": "2e-4"})["learning_rate"] == 2e-4
    assert runs.run_names(resolve(SHIPPED | {"ranks": [4.0]}))[0] == "fp16-r4-s0"


def configurations():
    """A whole configuration for each source of model and of data, every key at what it is without being given."""
    model = {"package": SHIPPED["model"], "hub": {"id": "a/b"}, "path": {"path": "x"}}
    model |= {"architecture": {"config": {"model_type": "llama"}}, "shape": {"name": "Qwen2.5-7B"}}
    data = {"reasoning-gym": SHIPPED["data"], "jsonl": {"train_file": "x"}, "hub": {"id": "a/b"}}
    models = [{"source": source} | keys for source, keys in model.items()]
    return [
        {"model": one, "data": two, "steps": 1} for one in models for two in ({"source": n} | data[n] for n in data)
    ]


def test_a_key_that_is_left_empty_is_refused_unless_empty_has_a_meaning():
    """YAML's `ranks:` with nothing behind it is no wish for the default: a value was meant to stand there."""
    takes_empty, refused = set(), {}
    for study in map(resolve, configurations()):
        sections = {key: [None, *value] if isinstance(value, dict) else [None] for key, value in study.items()}
        for key, name in [(key, name) for key, names in sections.items() for name in names]:
            empty = study | ({key: None} if name is None else {key: study[key] | {name: None}})
            place = key if name is None else f"{key}.{name}"
            try:
                resolve(empty)
                takes_empty.add(place)
            except UserError as refusal:
                refused[place] = str(refusal)
    for place, line in refused.items():
        assert line.startswith(f"config: {place}: got nothing")
    assert takes_empty == {
        *("data.name", "data.revision", "data.test_file", "data.test_split", "data.validation_file"),
        *("data.validation_split", "data.train_examples", "data.validation_examples", "model.revision"),
        *("epochs", "micro_batch_size", "accuracy.examples", "budget.memory_gib", "budget.hours", "cpu_threads"),
        *("checkpoint_minutes", "checkpoint_steps", "recommend.memory_gib", "recommend.hours"),
        *("data.group_column", "data.stratify_column", "data.template", "recommend.max_perplexity"),
        *("cluster.memory_gib", "cluster.hours", "shipping.license", "ask.hours"),
    }
    # Of the shipped configuration's source, which makes its examples, their numbers are.
    assert takes_empty & set(refused) == {"data.train_examples", "data.validation_examples"}
    assert {"ranks", "precisions", "seeds", "lora", "lora.alpha", "device", "evaluation", "model", "steps"} <= set(
        refused
    )


def test_missing_keys_take_their_defaults():
    least = {"model": SHIPPED["model"], "data": SHIPPED["data"], "steps": 3}
    resolved = resolve(least)
    assert resolved["ranks"] == [8, 16, 32]
    assert resolved["lora"] == {
        "alpha": "2r",
        "dropout": 0.0,
        "rslora": False,
        "targets": "all-linear",
        "dtype": "float32",
    }
    assert least == {"model": SHIPPED["model"], "data": SHIPPED["data"], "steps": 3}


def test_runs_are_sorted_by_precision_rank_and_seed():
    study = resolve(SHIPPED | {"ranks": [16, 8], "seeds": [1, 0], "extra_runs": ["bf16-r2-s7", "nf4-r64-s0"]})
    names = runs.run_names(study)
    assert names[0] == "bf16-r2-s7"
    assert names[1:4] == ["fp16-r8-s0", "fp16-r8-s1", "fp16-r16-s0"]
    assert names[-1] == "nf4-r64-s0"
    assert len(names) == 2 * 2 * 2 + 2


CODE = dict.fromkeys(
    (
        "fetch_model",
        "fetch_data",
        "tokenize_data",
        "prove_model",
        "prepare_base",
        "evaluate",
        "train_adapter",
        "measure_accuracy",
    ),
    "code",
)


def identity(study: dict, code=CODE) -> dict[str, str]:
    found = identities.study_identities(study, code)
    return {
        name: found[name]("nf4" if name in ("base", "baseline") else "nf4-r8-s0")
        if callable(found[name])
        else found[name]
        for name in found
    }


@pytest.mark.parametrize(
    ("section", "change", "moved"),
    [
        (None, {"learning_rate": 1.0}, "training evaluation accuracy"),
        ("lora", {"dropout": 0.5}, "training evaluation accuracy"),
        ("evaluation", {"batch_size": 1}, "baseline evaluation"),
        ("data", {"template": "{question}"}, "tokens baseline training evaluation accuracy"),
        ("data", {"train_examples": 9}, "data tokens baseline training evaluation accuracy"),
        ("model", {"version": "9"}, "model proof tokens base baseline training evaluation accuracy"),
        (None, {"ranks": [1, 2]}, ""),
        (None, {"cpu_threads": 1}, "baseline training evaluation accuracy"),
    ],
)
def test_identity_moves_with_what_it_depends_on(section, change, moved):
    study = resolve(SHIPPED)
    other = copy.deepcopy(study)
    (other[section] if section else other).update(change)
    before, after = identity(study), identity(other)
    assert {name for name in before if before[name] != after[name]} == set(moved.split())


def test_identity_moves_with_code():
    study = resolve(SHIPPED)
    before, after = identity(study), identity(study, CODE | {"tokenize_data": "other"})
    assert {name for name in before if before[name] != after[name]} == {
        "tokens",
        "baseline",
        "training",
        "evaluation",
        "accuracy",
    }


def test_files_and_accelerators_that_are_not_there(tmp_path, monkeypatch):
    study = resolve(SHIPPED)
    (tmp_path / "dev").mkdir()
    monkeypatch.setattr("platform.system", lambda: "Linux")

    def refusal(**changes) -> str:
        with pytest.raises(UserError) as raised:
            preflight.check_machine(resolve(SHIPPED | changes), tmp_path)
        return str(raised.value)

    preflight.check_machine(study, tmp_path)
    assert refusal(device="cuda") == "config: device: got cuda, takes a device that is there; found 0 GPU(s)"
    assert refusal(data=JSONL) == "config: data.train_file: got train.jsonl, takes a file or a folder that exists"
    path = {"source": "path", "path": str(tmp_path)}
    assert refusal(model=path) == f"config: model.path: got {tmp_path}, takes a folder that holds a config.json"
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / "dev" / name).touch()
    assert gpus.cuda_devices(tmp_path) == 2
    assert refusal(device="cuda:2").endswith("found 2 GPU(s)")
    # A cluster's login node need not have what its nodes have.
    preflight.check_machine(resolve(SHIPPED | {"device": "cuda:2"}), tmp_path, devices_here=False)
    preflight.check_machine(resolve(SHIPPED | {"device": "cuda:1", "precisions": ["int8"]}), tmp_path)


def test_every_study_is_complete_in_itself():
    for path in ROOT.glob("studies/*/config/config.yaml"):
        resolve(yaml.safe_load(path.read_text("utf-8")))


def test_snakemake_prints_one_line_and_no_traceback(new_study):
    study = new_study(ranks=[-8])
    done = study.snakemake("-n")
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    assert done.returncode != 0
    assert lines[-1] == "error: config: ranks.0: got -8, takes a whole number from 1 to 4096"
    assert len(lines) <= 2
    assert "Traceback" not in done.stdout + done.stderr


def test_a_refusal_tells_that_files_are_merged(tmp_path):
    """`--configfile` adds to the workflow's own file, so that a refusal may name keys that the given file lacks."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text(yaml.safe_dump(SHIPPED, sort_keys=False))
    for name, text in {"other": "epochs: 2", "path": "model: {source: path, path: x}", "empty": "ranks:"}.items():
        (tmp_path / f"{name}.yaml").write_text(text)

    def refused(*arguments):
        command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--directory", str(tmp_path), "-n"]
        done = subprocess.run([*command, *arguments], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode != 0
        assert "Traceback" not in done.stdout + done.stderr
        return (done.stdout + done.stderr).strip().splitlines()[-1]

    own = "--replace-workflow-config leaves out config/config.yaml"
    assert refused("--configfile", "other.yaml") == (
        "error: config: steps: got 10 with epochs 2, takes one of the two "
        f"(config/config.yaml, other.yaml are merged key by key, a later one winning; {own})"
    )
    assert refused("--configfile", "other.yaml", "path.yaml", "--config", "ranks=3") == (
        "error: config: model.package: unknown key; takes source, path "
        f"(config/config.yaml, other.yaml, path.yaml, --config are merged key by key, a later one winning; {own})"
    )
    assert refused("--configfile", "empty.yaml", "--replace-workflow-config").startswith(
        "error: config: model: got nothing, takes a section with a source"
    )
    assert "merged" not in refused("--configfile", "empty.yaml", "--replace-workflow-config")
    (tmp_path / "twice.yaml").write_text("seeds: [0]\nranks: [8]\nseeds: [1]")
    assert refused("--configfile", "twice.yaml").startswith(
        "error: config: seeds: stands twice in twice.yaml, in lines 1 and 3; leave one (config/config.yaml, twice.yaml"
    )
    (tmp_path / "config/config.yaml").write_text(yaml.safe_dump(SHIPPED | {"ranks": None}))
    assert refused().endswith("takes a list of different ranks, at least one; left out, it takes its default")
