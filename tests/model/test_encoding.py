"""Token ids of prompts and answers, over tokenizers that add to a text, change it, or take parts of it for control."""

import json

import pytest
from frontier.errors import UserError
from frontier.model import tokenizer as model_tokenizer
from frontier.model.data import differences
from frontier.model.data.controls import Reader
from frontier.model.data.encoding import Encoder
from frontier.model.data.tokens import IGNORED, tokenize
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers
from transformers import AutoTokenizer
from word_tables import BEGIN, CHARACTERS, END, byte_level, normalising, pieces, sentence_piece

TEMPLATE = "Question: {question}\nAnswer: "
EXAMPLE = {"question": "2 plus 3?", "answer": "2+3=5\n#### 5"}
BOTH = f"{BEGIN} $A {END}"
ADDING = {
    "nothing": byte_level(),
    "a beginning": byte_level(around=f"{BEGIN} $A"),
    "an end": byte_level(around=f"$A {END}"),
    "both": byte_level(around=BOTH),
    "two beginnings": byte_level(around=f"{BEGIN} {BEGIN} $A"),
    "a space": sentence_piece("first", "$A"),
    "a space and both": sentence_piece("first", BOTH),
    "a space behind control tokens": sentence_piece("always", BOTH),
    "a space by its normaliser": sentence_piece("normalizer", BOTH),
    "an end, with its name among the pieces": pieces(),
}
adding = pytest.mark.parametrize("tokenizer", ADDING.values(), ids=ADDING)


def encoder(tokenizer, template: str = TEMPLATE, ends: tuple[int, ...] = (), vocabulary: int = 10**6) -> Encoder:
    return Encoder(tokenizer, template, vocabulary, ends or (tokenizer.eos_token_id,))


def encoded(tokenizer, template: str = TEMPLATE, **changes) -> tuple[list[int], list[int], dict]:
    """The ids of an example's prompt and of what is learned after it, and the counts."""
    (example,), counts = tokenize([EXAMPLE | changes], encoder(tokenizer, template), 2**14)
    learned = [token for token in example["labels"] if token != IGNORED]
    border = len(example["input_ids"]) - len(learned)
    assert example["labels"] == [IGNORED] * border + example["input_ids"][border:]
    assert counts["answer_tokens"] == len(learned)
    return example["input_ids"][:border], learned, counts


def said(tokenizer, ids: list[int]) -> str:
    return tokenizer.decode(ids, clean_up_tokenization_spaces=False)


@adding
def test_one_beginning_no_end_within_and_one_end(tokenizer):
    prompt, learned, counts = encoded(tokenizer)
    added = tokenizer("x")["input_ids"].count(tokenizer.bos_token_id)
    assert prompt.count(tokenizer.bos_token_id) == added
    assert tokenizer.eos_token_id not in prompt
    assert learned.count(tokenizer.eos_token_id) == 1
    assert learned[-1] == tokenizer.eos_token_id
    ends = tokenizer("x")["input_ids"][-1] == tokenizer.eos_token_id
    assert counts["ends_not_added"] == ends
    assert [name for name in differences.WORDS if counts[name]] == ["ends_not_added"] * ends


@adding
def test_tokens_say_the_text_and_nothing_else(tokenizer):
    """No space of the tokenizer's own stands between question and answer."""
    for template in (TEMPLATE, TEMPLATE.rstrip(), "{question}"):
        prompt, learned, counts = encoded(tokenizer, template)
        bare = [token for token in prompt if token != tokenizer.bos_token_id]
        text = template.replace("{question}", EXAMPLE["question"]) + EXAMPLE["answer"]
        assert said(tokenizer, bare + learned[:-1]) == text
        assert counts["texts_changed"] == counts["unknown_tokens"] == 0


def test_a_space_before_the_whole_prompt_is_counted_and_none_stands_before_an_answer():
    """A byte-level tokenizer that puts one leaves it there as it decodes."""
    prompt, learned, counts = encoded(byte_level(space=True))
    tokenizer = byte_level(space=True)
    text = TEMPLATE.replace("{question}", EXAMPLE["question"]) + EXAMPLE["answer"]
    assert said(tokenizer, prompt + learned[:-1]) == " " + text
    assert counts["texts_changed"] == 1


@adding
def test_a_template_that_begins_as_the_tokenizer_does_begins_once(tokenizer):
    template = f"{BEGIN}[INST] {{question}} [/INST] "
    prompt, _, counts = encoded(tokenizer, template)
    assert prompt.count(tokenizer.bos_token_id) == 1
    assert prompt[0] == tokenizer.bos_token_id or tokenizer is ADDING["two beginnings"]
    adds = tokenizer("x")["input_ids"][0] == tokenizer.bos_token_id
    assert counts["beginnings_in_template"] == adds
    # But for the beginning, the tokens are those of the text as the tokenizer itself has them.
    text = template.replace("{question}", EXAMPLE["question"])
    assert prompt == tokenizer(text, add_special_tokens=False)["input_ids"]
    indented, _, _ = encoded(tokenizer, "\n " + template)
    assert indented.count(tokenizer.bos_token_id) == 1


@adding
@pytest.mark.parametrize("ending", [END, f"{END}\n", f" {END}", END + END, f"{END} {END}"])
def test_an_answer_that_names_its_end_ends_once(tokenizer, ending):
    _, learned, counts = encoded(tokenizer, answer="#### 5" + ending)
    assert learned.count(tokenizer.eos_token_id) == 1
    assert said(tokenizer, learned[:-1]).strip() == "#### 5"
    assert counts["answers_with_end"] == 1
    assert counts["control_tokens_as_text"] == 0


@adding
@pytest.mark.parametrize("template", [TEMPLATE, f"{BEGIN}[INST] {{question}} [/INST] ", f"{{question}}{END}Answer: "])
def test_control_tokens_in_a_users_text_stay_text(tokenizer, template):
    plain, answered, _ = encoded(tokenizer, template)
    question, answer = f"What is {END} after {BEGIN}?", f"It is {BEGIN}. {END} ends a text.\n#### 5"
    prompt, learned, counts = encoded(tokenizer, template, question=question, answer=answer)
    for control in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        assert prompt.count(control) == plain.count(control)
        assert learned.count(control) == answered.count(control)
    assert counts["control_tokens_as_text"] == 4
    assert question.replace(" ", "") in said(tokenizer, prompt).replace(" ", "")
    if template == TEMPLATE and tokenizer is not ADDING["an end, with its name among the pieces"]:
        assert counts["texts_changed"] == 0


@settings(max_examples=40, deadline=None)
@given(
    parts=st.lists(st.sampled_from([END, BEGIN, "<", "/s", ">", "s", " ", "5"]), max_size=8).map("".join),
    name=st.sampled_from(sorted(ADDING)),
)
def test_no_text_of_a_user_gives_a_control_token(parts, name):
    tokenizer = ADDING[name]
    one = encoder(tokenizer)
    controls = {tokenizer.bos_token_id, tokenizer.eos_token_id}
    (prompt,), (answer,) = one.prompts([parts]), one.answers([one.without_end(parts)])
    assert controls.isdisjoint(prompt[len(one.beginning) :])
    assert controls.isdisjoint(answer)


@settings(max_examples=40, deadline=None)
@given(
    questions=st.lists(st.text(CHARACTERS + " \né−½", max_size=12), max_size=4), name=st.sampled_from(sorted(ADDING))
)
def test_a_prompt_is_the_same_alone_and_among_others(questions, name):
    one = encoder(ADDING[name])
    together = one.prompts(questions)
    assert together == [one.prompts([question])[0] for question in questions]
    pairs = [{"question": question, "answer": "#### 5"} for question in questions]
    examples, _ = tokenize(pairs, one, 2**14)
    assert [example["input_ids"][: len(prompt)] for example, prompt in zip(examples, together, strict=True)] == together


def test_tokens_that_would_join_question_and_answer_are_kept_apart_and_counted():
    tokenizer = byte_level("Ċ Ċ", "Ġ 5")
    for template, answer in (("{question}\n\n", "5"), ("{question}: ", "5")):
        prompt, learned, counts = encoded(tokenizer, template, answer=answer)
        assert counts["borders_kept"] == 1
        assert said(tokenizer, prompt) == template.replace("{question}", EXAMPLE["question"])
        assert said(tokenizer, learned) == answer + END
    assert encoded(tokenizer, "{question}\n", answer="5")[2]["borders_kept"] == 0


@pytest.mark.parametrize(
    ("steps", "question", "unknown"),
    [
        ([normalizers.Lowercase()], "Anna has 5", 0),
        ([normalizers.NFD(), normalizers.StripAccents()], "caf\u00e9", 0),
        ([normalizers.NFKC()], "\uff15 and \u00b9", 0),
        ([normalizers.Strip()], "five ", 0),
        ([normalizers.Replace("#", "")], "#### 5", 0),
        ([], "caf\u00e9", 1),
        ([], "5 \u2212 3", 1),
    ],
)
def test_a_text_that_reads_otherwise_as_tokens_is_counted(steps, question, unknown):
    # `Strip` takes the ends of a whole text, so the question stands at one.
    _, _, counts = encoded(normalising(*steps), "{question}", question=question, answer="5")
    assert counts["texts_changed"] == 1
    assert counts["unknown_tokens"] == unknown
    _, _, counts = encoded(normalising(*steps), "{question}", question="five", answer="5")
    assert counts["texts_changed"] == 0


def test_a_template_keeps_its_control_tokens_whatever_the_tokenizers_own_setting():
    tokenizer = byte_level()
    tokenizer.split_special_tokens = True
    prompt, _, _ = encoded(tokenizer, f"{{question}}{END}\n")
    assert prompt.count(tokenizer.eos_token_id) == 1


def test_an_end_that_is_the_beginning_the_unknown_and_the_padding():
    """GPT-2 has one token for all four."""
    tokenizer = byte_level(around=f"{END} $A")
    for part in ("bos_token", "unk_token", "pad_token"):
        setattr(tokenizer, part, END)
    prompt, learned, counts = encoded(tokenizer, question=f"What is {END}?", answer=f"#### 5{END}")
    assert prompt.count(tokenizer.eos_token_id) == 1
    assert prompt[0] == tokenizer.eos_token_id
    assert learned.count(tokenizer.eos_token_id) == 1
    assert counts["texts_changed"] == 0


def test_an_id_beyond_the_models_embeddings_is_refused_and_a_borrowed_one_folded():
    tokenizer = byte_level()
    tokenizer.add_tokens(["[extra]"])
    size = len(tokenizer)
    with pytest.raises(UserError) as refusal:
        tokenize([EXAMPLE | {"question": "[extra]?"}], encoder(tokenizer, vocabulary=size - 1), 64)
    assert str(refusal.value) == (
        f"model: its tokenizer has [extra] as token {size - 1}, its weights have {size - 1} embeddings; "
        "use the tokenizer that the weights were trained with"
    )
    tokenize([EXAMPLE], encoder(tokenizer, vocabulary=size - 1), 64)
    borrowed = Encoder(tokenizer, TEMPLATE, 50, (tokenizer.eos_token_id,), borrowed=True)
    (example,), counts = tokenize([EXAMPLE], borrowed, 2**14)
    assert max(example["input_ids"]) < 50
    assert counts["ids_folded"] == sum(
        token >= 50 for token in borrowed.prompts([EXAMPLE["question"]])[0] + borrowed.answers([EXAMPLE["answer"]])[0]
    )


def test_what_is_counted_is_told():
    tokenizer = ADDING["both"]
    rows = [EXAMPLE, EXAMPLE | {"answer": f"a {BEGIN}\n#### 5{END}"}]
    _, counts = tokenize(rows, encoder(tokenizer), 2**14)
    assert differences.told(counts) == (
        "; 2 ends that the tokenizer would put behind a prompt, left out; 1 ends that answers named themselves, "
        "put once; 1 control tokens named in questions and answers, kept as text"
    )


def test_a_question_that_is_cut_to_nothing_leaves_nothing_to_learn():
    """Where neither prompt nor answer has a token, the end of sequence alone would be left, which nothing predicts."""
    one = encoder(normalising(normalizers.Replace("?", "")), "{question}")
    examples, counts = tokenize([{"question": "?", "answer": "?"}, {"question": "?", "answer": "5"}], one, 8)
    assert counts["examples_left_out"] == 1
    assert [example["labels"] for example in examples] == [[IGNORED, one.ends[0]]]


def saved(folder, tokenizer) -> str:
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("eos", "generation", "ends"),
    [
        (END, None, (2,)),
        (END, {"eos_token_id": 2}, (2,)),
        (END, {"eos_token_id": [2, 198]}, (2, 198)),
        (END, {"eos_token_id": [198, 2]}, (2, 198)),
        (END, {"eos_token_id": 198, "_from_model_config": True}, (2, 198)),
        (END, {"eos_token_id": None}, (2,)),
        (None, {"eos_token_id": [7, 8]}, (7, 8)),
        (None, {"eos_token_id": 7, "_from_model_config": True}, None),
        (None, {}, None),
        (None, None, None),
    ],
)
def test_where_the_ends_of_an_answer_come_from(tmp_path, monkeypatch, eos, generation, ends):
    tokenizer = byte_level()
    tokenizer.eos_token = eos
    saved(tmp_path, tokenizer)
    (tmp_path / "config.json").write_text('{"model_type": "llama", "vocab_size": 300, "eos_token_id": 5}')
    if generation is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    monkeypatch.setattr(model_tokenizer, "refuse_changed", lambda record: None)
    record = {"folder": str(tmp_path), "tokenizer": str(tmp_path), "architecture_only": False}
    if ends is None:
        with pytest.raises(UserError, match="names an end-of-sequence token, so no answer could be told to end"):
            model_tokenizer.load_encoder(record, TEMPLATE, [EXAMPLE])
    else:
        assert model_tokenizer.load_encoder(record, TEMPLATE, [EXAMPLE]).ends == ends


def test_an_answer_that_a_generation_would_end_within_is_counted():
    """As where generation_config.json names the new line: what is learned behind it can never be answered."""
    tokenizer = byte_level()
    ends = (tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("Ċ"))
    rows = [EXAMPLE, EXAMPLE | {"answer": "#### 5"}]
    _, counts = tokenize(rows, encoder(tokenizer, ends=ends), 2**14)
    assert counts["ends_within_answers"] == 1
    _, counts = tokenize(rows, encoder(tokenizer), 2**14)
    assert counts["ends_within_answers"] == 0


def test_settings_of_a_tokenizers_file_that_would_cut_pad_or_shuffle_a_text(tmp_path):
    """tokenizer.json may hold truncation and padding, and BPE dropout, by which a text has other tokens each time."""
    tokenizer = byte_level("2 +", dropout=0.5)
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.backend_tokenizer.enable_padding(length=64)
    opened = model_tokenizer.open_tokenizer(saved(tmp_path, tokenizer))
    assert AutoTokenizer.from_pretrained(tmp_path).backend_tokenizer.model.dropout == 0.5
    found = {tuple(encoded(opened, question="2+" * 20)[0]) for _ in range(5)}
    assert len(found) == 1
    assert said(opened, list(found.pop())) == TEMPLATE.replace("{question}", "2+" * 20)


MANY = byte_level()
MANY.add_special_tokens({"extra_special_tokens": [f"<|reserved_{i}|>" for i in range(300)] + ["<s>x", "[PAD]", "(?"]})


@given(st.lists(st.sampled_from([*"<s>x|[]", BEGIN, "<|reserved_1", "<|reserved_12|>", "[PAD]", "(?"]), max_size=9))
def test_names_of_control_tokens_are_found_the_longest_first(parts):
    """One name may begin another, and may be no regular expression."""
    text = "".join(parts)
    reader = Reader(MANY)
    found, rest = [], text
    while rest:
        name = next((name for name in reader.controls if rest.startswith(name)), None)
        found += [name] if name else []
        rest = rest[len(name or "x") :]
    assert reader.count(text) == len(found)
    assert reader.first(text) == ((found[0], reader.controls[found[0]]) if found else None)
    assert set(reader.controls.values()).isdisjoint(reader.ids([text])[0])
