"""Answers: the same alone and in a batch, greedy, cut where they end, and counted by the workflow."""

import copy
import json
from contextlib import contextmanager

import pandas as pd
import pytest
import tiny
import torch
from frontier import records
from frontier.model import bases, cache, layers, sources
from frontier.model.data.chat import ChatEncoder
from frontier.model.data.encoding import Encoder
from frontier.model.data.tokens import IGNORED, tokenize
from frontier.model.tokenizer import load_tokenizer
from frontier.outcomes import Stop
from frontier.record_types import AccuracyRecord
from frontier.results import summary
from frontier.run import accuracy, captured_decoding, generation
from frontier.run.asked import Ends
from frontier.run.captured_decoding import CapturedDecoding
from frontier.table_types import AccuracyRow, AnswerRow
from transformers import AutoModelForCausalLM, LlamaConfig, Mamba2Config, MistralConfig
from typed import problems, problems_of_table
from word_tables import byte_level, sentence_piece

CPU = torch.device("cpu")
QUESTIONS = [
    "1 plus 2?",
    "Anna has 31 apples and gives 7 of them to Ben. How many has she?",
    "9?",
    "40 minus 2 minus 1?",
]


@pytest.fixture(scope="module", params=["fp32", "nf4"])
def answering(request, tiny_model, tmp_path_factory):
    """The tiny model in a precision, ready to answer, and its tokenizer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "CACHE", tmp_path_factory.mktemp("cache"))
        record = sources.fetch({"source": "path", "path": str(tiny_model)}, {})
        model = bases.load(bases.convert(record, request.param, CPU), CPU)
    model.set_attn_implementation("sdpa")
    # A head of its own: tied to the embedding, so small a model says its last token for ever.
    torch.manual_seed(1)
    model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight, dtype=torch.float32))
    return layers.compute_in(model, torch.float32).eval(), load_tokenizer(record)


def ends(tokenizer, text: str = "") -> Ends:
    return Ends((tokenizer.eos_token_id,), text)


def greedy(model, tokenizer, prompts, count, ends, device):
    """The answers in the order of the prompts: (text, whether it ended by itself)."""
    decoding = generation.OwnDecoding(model, tokenizer, ends)
    return answers_by(decoding, tokenizer, prompts, count, ends, device)


def answers_by(decoding, tokenizer, prompts, count, ends, device):
    answers = generation.answers_of(decoding, tokenizer, prompts, count, ends, device)
    found = {index: answer for index, *answer in answers}
    assert sorted(found) == list(range(len(prompts)))
    return [tuple(found[index]) for index in range(len(prompts))]


def test_a_batch_changes_no_answer(answering):
    model, tokenizer = answering
    prompts = [tokenizer(f"Question: {question}\nAnswer: ")["input_ids"] for question in QUESTIONS]
    assert len(set(map(len, prompts))) == len(prompts)
    together = greedy(model, tokenizer, prompts, 24, ends(tokenizer), CPU)
    alone = [greedy(model, tokenizer, [prompt], 24, ends(tokenizer), CPU)[0] for prompt in prompts]
    assert together == alone
    assert len({text for text, _ in together}) == len(prompts)


@torch.no_grad()
def test_answers_are_greedy_without_the_cache(answering):
    model, tokenizer = answering
    prompt = tokenizer(f"Question: {QUESTIONS[0]}\nAnswer: ")["input_ids"]
    ids = list(prompt)
    for _ in range(12):
        ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    # Another model's settings, which must not count here.
    model.generation_config.repetition_penalty = 5.0
    text, ended = greedy(model, tokenizer, [prompt], 12, ends(tokenizer), CPU)[0]
    assert tokenizer.eos_token_id not in ids[len(prompt) :]
    assert (text, ended) == (tokenizer.decode(ids[len(prompt) :]), False)


HEADS = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64}
SIZES = {"vocab_size": 200, "num_hidden_layers": 2}


@pytest.mark.parametrize(
    "family",
    [
        LlamaConfig(**SIZES, **HEADS),
        MistralConfig(**SIZES, **HEADS, sliding_window=8),
        Mamba2Config(**SIZES, hidden_size=32, num_heads=4, head_dim=16, state_size=8, n_groups=1),
    ],
    ids=lambda config: config.model_type,
)
@torch.no_grad()
def test_answers_that_end_leave_the_batch_and_the_others_go_on_as_alone(family):
    """Caches of all tokens, of a window's, and of a state: whoever stays must keep its own."""
    torch.manual_seed(1)
    model, tokenizer = AutoModelForCausalLM.from_config(family).eval(), byte_level()
    for weight in model.parameters():
        weight.mul_(4 if weight.dim() > 1 else 1)
    prompts = [torch.randint(16, 200, (length,)).tolist() for length in (3, 17, 5, 11, 4, 8, 6, 9)]
    several = Ends(tuple(range(2, 16)), "")
    tokens = [greedy_without_cache(model, prompt, 28, several) for prompt in prompts]
    assert min(map(len, tokens)) < 16 < max(map(len, tokens))
    expected = [(tokenizer.decode(one, skip_special_tokens=True), len(one) < 28) for one in tokens]
    assert greedy(model, tokenizer, prompts, 28, several, CPU) == expected


class Replayed:
    """In the place of CUDA graphs: work that is captured is not done, and done again at each replay."""

    def __init__(self, work=None):
        self.replay, self.captured = work, 0

    @contextmanager
    def on_stream(self):
        yield

    def capture(self, work):
        self.captured += 1
        return Replayed(work), None


@torch.no_grad()
def test_a_captured_step_gives_the_tokens_of_the_models_own():
    """Rows of unlike lengths, one of a single token, of which some end, and more than half of them before the last."""
    torch.manual_seed(1)
    model, tokenizer = AutoModelForCausalLM.from_config(LlamaConfig(**SIZES, **HEADS)).eval(), byte_level()
    for weight in model.parameters():
        weight.mul_(4 if weight.dim() > 1 else 1)
    prompts = [torch.randint(16, 200, (length,)).tolist() for length in (3, 17, 5, 11, 1, 8, 6, 9)]
    several = Ends(tuple(range(2, 16)), "")
    expected = greedy(model, tokenizer, prompts, 40, several, CPU)
    graphs = Replayed()
    decoding = CapturedDecoding(model, 17 + 40, CPU, graphs)
    assert answers_by(decoding, tokenizer, prompts, 40, several, CPU) == expected
    assert 1 < graphs.captured < 4
    alone = answers_by(decoding, tokenizer, prompts[4:5], 40, several, CPU)
    assert alone == expected[4:5]


def test_what_gives_other_tokens_captured_answers_by_itself(answering, monkeypatch, capsys):
    model, tokenizer = copy.deepcopy(answering[0]), answering[1]
    prompts = [tokenizer(f"Question: {question}\nAnswer: ")["input_ids"] for question in QUESTIONS]
    monkeypatch.setattr(generation, "is_capturable", lambda model, device: True)
    monkeypatch.setattr(captured_decoding, "CudaGraphs", lambda device: Replayed())
    assert isinstance(generation.decoding_of(model, tokenizer, prompts, 24, ends(tokenizer), CPU), CapturedDecoding)
    take = captured_decoding._Step.take

    def wrong(self):
        take(self)
        self.positions += 1

    model.set_attn_implementation("sdpa")
    monkeypatch.setattr(captured_decoding._Step, "take", wrong)
    assert isinstance(
        generation.decoding_of(model, tokenizer, prompts, 24, ends(tokenizer), CPU), generation.OwnDecoding
    )
    assert "captured steps give other tokens than the model's own" in capsys.readouterr().out


def test_answers_that_take_longer_than_the_budgets_hours_end_over_time(answering, monkeypatch, capsys):
    model, tokenizer = answering
    encoder = Encoder(tokenizer, "Question: {question}\nAnswer: ", 300, (tokenizer.eos_token_id,))
    asked = [{"question": one, "truth": 1, "prompt": tokenizer(one)["input_ids"]} for one in QUESTIONS]
    request = {"name": "fp32", "batch_size": 1, "max_new_tokens": 4}
    assert len(accuracy.answer_all(model, encoder, asked, request, CPU, hours=1)) == len(asked)
    now = iter(range(0, 10**6, 1800))
    monkeypatch.setattr(accuracy.time, "monotonic", lambda: next(now))
    with pytest.raises(Stop, match="the budget of 1 h was spent at answer ") as stopped:
        accuracy.answer_all(model, encoder, asked, request, CPU, hours=1)
    assert stopped.value.outcome["status"] == "over_time"
    assert "problems, " in capsys.readouterr().out


def greedy_without_cache(model, prompt: list[int], count: int, several: Ends) -> list[int]:
    """The tokens of a greedy answer, each from a pass over all before it."""
    found: list[int] = []
    while len(found) < count:
        token = int(model(torch.tensor([prompt + found]), use_cache=False).logits[0, -1].argmax())
        if token in several.tokens:
            break
        found.append(token)
    return found


def test_answer_ends_where_the_next_question_begins(answering):
    model, tokenizer = answering
    prompt = tokenizer("Question: 1?\nAnswer: ")["input_ids"]
    whole, _ = greedy(model, tokenizer, [prompt], 24, ends(tokenizer), CPU)[0]
    stop = whole[8:10]
    text, ended = greedy(model, tokenizer, [prompt], 24, ends(tokenizer, stop), CPU)[0]
    assert (text, ended) == (whole[: whole.index(stop)], True)


def test_an_answer_ends_at_any_of_several_ends(answering):
    """generation_config.json of instruction-tuned models names two or three."""
    model, tokenizer = answering
    prompt = tokenizer("Question: 1?\nAnswer: ")["input_ids"]
    whole, _ = greedy(model, tokenizer, [prompt], 24, ends(tokenizer), CPU)[0]
    second = next(character for character in whole[4:] if character.isascii())
    several = Ends((tokenizer.eos_token_id, *tokenizer(second)["input_ids"]), "")
    text, ended = greedy(model, tokenizer, [prompt], 24, several, CPU)[0]
    assert (text, ended) == (whole[: whole.index(second)], True)


def an_encoder(tokenizer, template: str = "Question: {question}\nAnswer: ") -> Encoder:
    return Encoder(tokenizer, template, 10**6, (tokenizer.eos_token_id,))


def test_problems_without_a_final_number_are_not_asked_and_are_counted():
    one = an_encoder(byte_level())
    rows = [
        {"question": "a", "answer": "x\n#### 8.0"},
        {"question": "b", "answer": "no end"},
        {"question": "c", "answer": "#### 3/4"},
        {"question": "d", "answer": "####42"},
        {"question": "e" * 64, "answer": "#### 5"},
    ]
    asked, counts = accuracy.problems(rows, one, 64, None)
    assert [(problem["question"], problem["truth"]) for problem in asked] == [("a", 8), ("d", 42)]
    left_out = {"answers_without_final": 2, "prompts_too_long": 1, "prompts_unrendered": 0}
    assert counts == left_out | {"finals_read_otherwise": 2}
    assert len(accuracy.problems(rows, one, 64, 1)[0]) == 1
    assert accuracy.problems(rows[1:3], one, 64, None)[0] == []


def test_test_problems_for_which_the_template_raises_are_counted():
    """They are in no training set, where the tokens' record would count them."""
    tokenizer = byte_level()
    tokenizer.chat_template = (
        "{% if messages[0]['role'] != 'user' %}{{ raise_exception('a user comes first') }}{% endif %}"
        "{% for m in messages %}{{ m['role'] + ':' + m['content'] + '</s>' }}{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    said = [{"role": "user", "content": "2+3?"}, {"role": "assistant", "content": "#### 5"}]
    rows = [{"messages": said}, {"messages": [{"role": "assistant", "content": "Hello"}, *said]}]
    asked, counts = accuracy.problems(rows, ChatEncoder(tokenizer, 10**6, (tokenizer.eos_token_id,)), 64, None)
    assert (len(asked), counts["prompts_unrendered"]) == (1, 1)


@pytest.mark.parametrize("around", ["$A", "<s> $A", "$A </s>", "<s> $A </s>"])
@pytest.mark.parametrize("tokenizer", [byte_level, lambda around: sentence_piece("first", around)])
def test_a_problems_prompt_is_what_training_has_before_the_answer(tokenizer, around):
    one = an_encoder(tokenizer(around=around))
    rows = [{"question": question, "answer": "5+3=8\n#### 8"} for question in (*QUESTIONS, "What is </s>?")]
    trained, _ = tokenize(rows, one, 512)
    asked, _ = accuracy.problems(rows, one, 512, None)
    border = [sum(label == IGNORED for label in example["labels"]) for example in trained]
    assert [problem["prompt"] for problem in asked] == [
        example["input_ids"][:size] for example, size in zip(trained, border, strict=True)
    ]


@pytest.mark.parametrize(
    ("template", "tokenizer", "tokens", "text"),
    [
        ("Question: {question}\nAnswer: ", byte_level(), [2], "Question:"),
        ("{question}\nAnswer: ", byte_level(), [2], ""),
        ("<s>[INST] {question} [/INST] ", byte_level(around="<s> $A"), [2, 1], "[INST]"),
        ("<s>[INST] {question} [/INST] ", byte_level(), [2, 1], ""),
        ("<s>user\n{question}</s>\n<s>assistant\n", byte_level(), [2, 1], ""),
    ],
)
def test_an_answer_ends_where_the_template_would_begin_again(template, tokenizer, tokens, text):
    """The word `user` of a chat's template ends no answer; the control token before it does."""
    assert accuracy.ends_of(an_encoder(tokenizer, template)) == (tuple(tokens), text)


def test_marks_both_extractions():
    row = accuracy.mark({"question": "q", "truth": 12}, "3+9=12 so 12", True)
    assert (row["strict_correct"], row["flexible_correct"]) == (False, True)


def test_summary_takes_each_runs_accuracy_and_its_bases():
    frame = pd.DataFrame({"run": ["nf4-r2-s0", "nf4-r4-s0"], "precision": ["nf4", "nf4"]})
    columns = ("run", "strict", "strict_se", "flexible", "flexible_se", "split", "examples")
    rows = [("nf4", 0.1, 0.01, 0.2, 0.02, "test", 50), ("nf4-r4-s0", 0.4, 0.05, 0.5, 0.06, "test", 50)]
    joined = summary.join_accuracy(frame, pd.DataFrame(rows, columns=columns)).set_index("run")
    assert joined.loc["nf4-r4-s0", "accuracy_strict"] == 0.4
    assert joined.loc["nf4-r4-s0", "base_accuracy_flexible"] == 0.2
    assert pd.isna(joined.loc["nf4-r2-s0", "accuracy_strict"])


def test_workflow_measures_accuracy_on_the_test_split(new_study):
    study = new_study(precisions=["nf4"], ranks=[2], accuracy={"batch_size": 4, "max_new_tokens": 8})
    tiny.write_sums(study.folder / "test.jsonl", count=6, seed=5)
    study.configure(data={"test_file": "test.jsonl"})
    study.run("results/accuracy.csv")
    table = pd.read_csv(study.folder / "results/accuracy.csv")
    assert list(table["run"]) == ["nf4", "nf4-r2-s0"]
    assert set(table["split"]) == {"test"}
    assert set(table["examples"]) == {6}
    answers = pd.read_parquet(study.folder / "results/runs/nf4-r2-s0/answers.parquet")
    asked = [json.loads(line)["question"] for line in (study.folder / "test.jsonl").read_text().splitlines()]
    assert list(answers["question"]) == asked
    assert problems(answers.to_dict("records"), list[AnswerRow]) == []
    assert problems_of_table(study.folder / "results/accuracy.csv", AccuracyRow) == []
    for path in (study.folder / "results").glob("*/*/accuracy.json"):
        assert problems(records.read_json(path), AccuracyRecord) == []
    study.configure(accuracy={"examples": 3})
    assert "gather_accuracy" not in study.plan("results/summary.csv")
    study.configure(accuracy={"measure": True})
    planned = study.plan("results/summary.csv")
    assert "train_adapter" not in planned
    assert {"measure_accuracy", "measure_base_accuracy", "gather_accuracy"} <= set(planned)


CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def test_a_chats_problem_is_its_last_question_as_its_template_asks_it():
    tokenizer = byte_level()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = CHATML
    one = ChatEncoder(tokenizer, 10**6, (tokenizer.eos_token_id,))
    said = [("user", "1+1?"), ("assistant", "#### 2"), ("user", "+1?"), ("assistant", "2+1\n#### 3")]
    chat = {"messages": [{"role": role, "content": text} for role, text in said]}
    untold = {"messages": [*chat["messages"], {"role": "user", "content": "Thanks"}]}
    asked, counts = accuracy.problems(
        [chat, untold, {"question": "q", "answer": "#### 4"}, {"text": "#### 5"}], one, 99, None
    )
    assert [problem["truth"] for problem in asked] == [3, 4]
    assert counts["answers_without_final"] == 2
    asks = (
        "<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n#### 2<|im_end|>\n<|im_start|>user\n+1?<|im_end|>\n"
    )
    assert tokenizer.decode(asked[0]["prompt"]) == asks + "<|im_start|>assistant\n"
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert accuracy.ends_of(one) == ((tokenizer.eos_token_id, end), "")


def test_an_accuracy_that_fails_is_told_and_recorded_and_no_error(tmp_path, monkeypatch, capsys):
    """So that summary and report have all else; memory that is refused stays what it was."""

    def fail(error):
        def solve(*arguments):
            (tmp_path / "answers.parquet").write_bytes(b"a part")
            raise error

        monkeypatch.setattr(accuracy, "solve", solve)
        output = {"accuracy": str(tmp_path / "accuracy.json"), "answers": str(tmp_path / "answers.parquet")}
        return accuracy._solved({"output": output, "request": {"name": "fp16-r8-s0"}}, None, None)

    outcome = fail(ValueError("no such thing\nmore"))
    assert (outcome["status"], outcome["reason"]) == ("unmeasured", "ValueError: no such thing")
    assert all(outcome[name] is None for name in ("strict", "flexible", "examples"))
    assert not (tmp_path / "answers.parquet").exists()
    told = capsys.readouterr().out
    assert told.startswith("warning: fp16-r8-s0  accuracy failed (ValueError: no such thing); made again by snakemake")
    with pytest.raises(MemoryError):
        fail(MemoryError())
