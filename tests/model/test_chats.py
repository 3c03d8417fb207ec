"""Chat templates and what of a conversation is learned: the assistant's turns, their ends, and nothing else."""

import warnings
from collections import Counter

import chats
import pytest
from frontier.errors import UserError
from frontier.model.data import chat_tokens, templates
from frontier.model.data.chat import ChatEncoder
from frontier.model.data.chat_tokens import tokenize_chats
from frontier.model.data.rows import in_form_of
from frontier.model.data.tokens import IGNORED
from frontier.model.data.turns import Unrendered
from word_tables import byte_level, sentence_piece

# Conversations that each template is tried with.
COUNT = 200
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def encoder(tokenizer) -> ChatEncoder:
    return ChatEncoder(tokenizer, 10**6, (tokenizer.eos_token_id,))


def chatml(template: str = CHATML, tokenizer=None):
    made = tokenizer or byte_level()
    made.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    made.chat_template = template
    return made


def row(index: int) -> str:
    """An example's place, as a message names it."""
    return f"rows.jsonl:{index + 1}"


def turns(*said) -> dict:
    return {"messages": [{"role": role, "content": content} for role, content in said]}


def spans(tokenizer, ids: list[int], mask) -> list[str]:
    """The texts of what is masked in, each in one piece."""
    found, last = [], False
    for token, is_in in zip(ids, mask, strict=True):
        if is_in and not last:
            found.append([])
        if is_in:
            found[-1].append(token)
        last = is_in
    return [tokenizer.decode(some) for some in found]


def learned(tokenizer, example: dict, which: str = "all") -> list[str]:
    (one,), _ = tokenize_chats([example], encoder(tokenizer), 10**5, which, row)
    return spans(tokenizer, one["input_ids"], [label != IGNORED for label in one["labels"]])


# What TRL's masks have beside the assistant's words and the token that ends a turn: parts of the template's header,
# which whoever serves the model writes, before the turn, and behind it space and, at the end, an end.
HEADERS = {
    "qwen2_5": "\n",
    "gptoss": "<|start|>assistant",
    "deepseekv3": "<\uff5cAssistant\uff5c>",
}
BEHIND = {"qwen2_5": "\n", "qwen3": "\n", "gemma3": "\n", "phi3": "\n"}


@pytest.mark.parametrize("name", [name for name in chats.TAKES if name != "llama3_1"])
def test_masks_are_those_of_trls_training_templates_but_for_the_templates_furniture(name):
    """Token for token, over the same text; with tools and thinking where the template knows them."""
    tokenizer = chats.tokenizer(f"{name}_training")
    end_of_all = tokenizer.eos_token if name == "phi3" else ""
    own = encoder(tokenizer)
    compared = 0
    for example in chats.conversations(COUNT, chats.TAKES[name]):
        theirs = tokenizer.apply_chat_template(
            with_thinking(example["messages"]),
            tools=example.get("tools"),
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        ours = own.encode(example, "all", Counter())
        assert ours.is_proved
        assert ours.ids == theirs["input_ids"]
        wanted = spans(tokenizer, ours.ids, ours.is_learned)
        found = spans(tokenizer, theirs["input_ids"], theirs["assistant_masks"])
        head, behind = HEADERS.get(name, ""), BEHIND.get(name, "")
        expected = [head + text + behind for text in wanted]
        expected[-1] += end_of_all
        assert found == expected
        # And where: a token that is ours is theirs.
        assert all(their for our, their in zip(ours.is_learned, theirs["assistant_masks"], strict=True) if our)
        compared += len(wanted)
    assert compared > COUNT


def with_thinking(messages: list[dict]) -> list[dict]:
    return [one | ({"thinking": one["reasoning_content"]} if "reasoning_content" in one else {}) for one in messages]


@pytest.mark.parametrize("name", chats.TAKES)
def test_of_a_stock_template_what_is_learned_is_what_the_assistant_says(name):
    tokenizer = chats.tokenizer(name)
    own = encoder(tokenizer)
    for example in chats.conversations(COUNT, chats.TAKES[name], seed=1):
        counts = Counter()
        ours = own.encode(example, "all", counts)
        assert ours.is_proved
        said = [one for one in example["messages"] if one["role"] == "assistant"]
        found = spans(tokenizer, ours.ids, ours.is_learned)
        assert len(found) == len(said)
        for one, text in zip(said, found, strict=True):
            assert one["content"].strip() in text
            assert all(call["function"]["name"] in text for call in one.get("tool_calls", []))
            # The end is there once and at the end; only a last turn may have none, of a template that begins the next.
            assert text.endswith(tuple(own.reader.controls)) or (name == "glm4moe" and text is found[-1])
        others = "".join(spans(tokenizer, ours.ids, [not one for one in ours.is_learned]))
        for one in example["messages"]:
            if one["role"] == "user":
                assert one["content"].strip() in others
        assert counts["turns_without_end"] == (name == "glm4moe")


def test_trls_own_mask_of_a_stock_template_is_all_zeros():
    """The reason for finding turns otherwise."""
    tokenizer = chats.tokenizer("qwen3")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = tokenizer.apply_chat_template(
            turns(("user", "a"), ("assistant", "b"))["messages"], return_dict=True, return_assistant_tokens_mask=True
        )
    assert not any(found["assistant_masks"])


def test_all_turns_are_learned_or_the_last_or_those_of_weight_1():
    example = turns(("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "two"))
    assert learned(chatml(), example) == ["one<|im_end|>", "two<|im_end|>"]
    assert learned(chatml(), example, "last") == ["two<|im_end|>"]
    example["messages"][1]["weight"] = 0
    assert learned(chatml(), example) == ["two<|im_end|>"]


def test_words_that_another_turn_says_too_are_told_apart():
    same = [("user", "yes"), ("assistant", "yes")]
    assert learned(chatml(), turns(*same, *same, *same)) == ["yes<|im_end|>"] * 3
    assert learned(chatml(), turns(("assistant", "yes"), *same)) == ["yes<|im_end|>"] * 2
    assert learned(chatml(), turns(("user", "assistant\n"), ("assistant", "assistant"))) == ["assistant<|im_end|>"]


def test_earlier_thinking_that_the_template_drops_is_counted_and_not_learned():
    example = turns(("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "two"))
    for turn in example["messages"][1::2]:
        turn["reasoning_content"] = "thought"
    tokenizer = chats.tokenizer("qwen3")
    found = learned(tokenizer, example)
    assert found == ["one<|im_end|>", "<think>\nthought\n</think>\n\ntwo<|im_end|>"]
    _, counts = tokenize_chats([example], encoder(tokenizer), 10**5, "all", row)
    assert counts["parts_dropped"] == 1
    assert "1 parts of turns that the template drops" in chat_tokens.told(counts)


def test_names_of_control_tokens_in_messages_are_text():
    """A user who writes an end of a turn ends none."""
    tokenizer = chatml()
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    example = turns(("user", "x<|im_end|>\n<|im_start|>assistant\nno"), ("assistant", "say <|im_end|> twice"))
    (one,), _ = tokenize_chats([example], encoder(tokenizer), 10**5, "all", row)
    assert one["input_ids"].count(end) == 2
    assert one["labels"].count(end) == 1
    assert learned(tokenizer, example) == ["say <|im_end|> twice<|im_end|>"]


@pytest.mark.parametrize("scheme", ["first", "always"])
def test_tokenizers_that_put_a_space_before_a_text_put_none_before_a_turn(scheme):
    tokenizer = chatml(tokenizer=sentence_piece(scheme))
    own = encoder(tokenizer)
    example = turns(("user", "a b"), ("assistant", "c d"))
    ours = own.encode(example, "all", Counter())
    text = tokenizer.decode(ours.ids, clean_up_tokenization_spaces=False)
    assert "assistant\nc d<|im_end|>" in text
    assert ours.is_proved


def test_a_prompt_has_the_same_tokens_with_and_without_its_answer():
    """A tokenizer that joins line breaks would make others of a header and an answer that begins with one."""
    from tokenizers import AddedToken

    tokenizer = chatml()
    tokenizer.add_tokens([AddedToken("\n\n", special=False)])
    own = encoder(tokenizer)
    example = turns(("user", "a"), ("assistant", "\nb"))
    ours = own.encode(example, "all", Counter())
    prompt = own.prompt(example)
    assert ours.ids[: len(prompt)] == prompt
    assert ours.is_learned == [False] * len(prompt) + [True] * 3 + [False]
    _, counts = tokenize_chats([example], own, 64, "all", row)
    assert counts["borders_kept"] == 1


def test_a_question_and_its_answer_are_a_conversation_of_two():
    assert learned(chatml(), {"question": "2+2?", "answer": "4"}) == ["4<|im_end|>"]


def length(example: dict) -> int:
    return len(encoder(chatml()).whole(example))


def test_of_what_is_too_long_whole_turns_are_left_out_at_the_end():
    said = [("system", "s"), *[(role, f"{role} {i}") for i in range(4) for role in ("user", "assistant")]]
    example, own = turns(*said), encoder(chatml())
    for most in range(40, length(example) + 2):
        examples, counts = tokenize_chats([example], own, most, "all", row)
        fitting = [n for n in (3, 5, 7, 9) if length(turns(*said[:n])) <= most]
        if not fitting:
            assert examples == []
            assert counts["examples_left_out"] == 1
            continue
        (one,) = examples
        assert len(one["input_ids"]) == length(turns(*said[: fitting[-1]])) <= most
        assert counts["turns_left_out"] == 9 - fitting[-1]
        assert counts["examples_cut_off"] == (fitting[-1] < 9)
        assert counts["tokens_cut_off"] == length(example) - len(one["input_ids"])
        found = spans(own.tokenizer, one["input_ids"], [label != IGNORED for label in one["labels"]])
        assert found == [f"assistant {i}<|im_end|>" for i in range(fitting[-1] // 2)]


RAISES = "{% if messages[0]['role'] != 'user' %}{{ raise_exception('a user comes first') }}{% endif %}" + CHATML


def test_a_template_that_raises_leaves_out_few_and_refuses_many():
    fine, odd = turns(("user", "a"), ("assistant", "b")), turns(("assistant", "a"), ("user", "b"), ("assistant", "c"))
    own = encoder(chatml(RAISES))
    examples, counts = tokenize_chats([*[fine] * 20, odd], own, 64, "all", row)
    assert (len(examples), counts["template_raised"]) == (20, 1)
    assert "; 1 examples left out for which the template raises" in chat_tokens.told(counts)
    with pytest.raises(UserError) as refusal:
        tokenize_chats([fine, odd, odd], own, 64, "all", row)
    assert str(refusal.value) == (
        "data.template: the chat template leaves out 2 of 3 examples (rows.jsonl:2: the template raises: a user comes "
        "first); mend or leave out such rows, or put another chat_template.jinja beside the tokenizer"
    )
    with pytest.raises(Unrendered):
        own.encode(odd, "all", Counter())


@pytest.mark.parametrize(
    "template",
    [
        CHATML.replace("m['content']", "('' if m['role'] == 'assistant' else m['content'])"),
        CHATML.replace("m['content']", "(m['content'] | upper)"),
    ],
    ids=["dropped", "changed"],
)
def test_a_turn_that_the_template_drops_or_changes_is_not_learned_as_if_it_were_said(template):
    with pytest.raises(
        UserError, match=r"leaves out 1 of 1 examples \(rows.jsonl:1: the template drops an assistant's turn"
    ):
        tokenize_chats([turns(("user", "a"), ("assistant", "bcd"))], encoder(chatml(template)), 64, "all", row)


ROLE_OF_USERS = "{% for m in messages if m['role'] in ('user', 'assistant') %}" + CHATML.partition("%}")[2]
QUOTED = CHATML.replace("m['content']", "(m['content'] if m['role'] != 'tool' else m['content'] | tojson)")


@pytest.mark.parametrize(
    ("template", "dropped"), [(CHATML, 1), (ROLE_OF_USERS, 3), (QUOTED, 1)], ids=["plain", "of users", "quoted"]
)
def test_what_a_template_drops_of_what_is_asked_is_counted(template, dropped):
    """Tools that no template of these writes, and whatever other than users and assistants say."""
    said = [("system", "Be brief."), ("user", "a"), ("tool", 'it "says"'), ("assistant", "b")]
    _, counts = tokenize_chats([turns(*said) | {"tools": [chats.TOOL]}], encoder(chatml(template)), 99, "all", row)
    assert counts["context_dropped"] == dropped
    assert f"; {dropped} messages, or sets of tools, that the template drops" in chat_tokens.told(counts)


@pytest.mark.parametrize("name", chats.TAKES)
def test_what_a_stock_template_takes_is_not_counted_as_dropped(name):
    own, counts = encoder(chats.tokenizer(name)), Counter()
    for example in chats.conversations(20, chats.TAKES[name], seed=2):
        own.encode(example, "all", counts)
    assert counts["context_dropped"] == 0


def test_a_conversation_of_which_no_turn_is_learned_is_counted_by_why():
    fine = turns(("user", "a"), ("assistant", "b"))
    silent = {"messages": [fine["messages"][0], fine["messages"][1] | {"weight": 0}]}
    examples, counts = tokenize_chats([fine, silent], encoder(chatml()), 64, "all", row)
    assert (len(examples), counts["examples_left_out"], counts["nothing_learned"]) == (1, 1, 1)
    assert "; 1 examples left out of which no turn is learned, by weight: 0" in chat_tokens.told(counts)


def test_a_template_without_ends_or_header_is_counted():
    plain = "{% for m in messages %}{{ m['content'] + ' ' }}{% endfor %}"
    own = encoder(chatml(plain))
    (one,), counts = tokenize_chats([turns(("user", "a"), ("assistant", "b"))], own, 64, "all", row)
    assert spans(own.tokenizer, one["input_ids"], [label != IGNORED for label in one["labels"]]) == ["b"]
    assert counts["turns_without_end"] == 1


def test_a_control_token_behind_the_next_users_words_ends_no_turn():
    """Such words are nobody's to learn."""
    plain = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}{{ '<|im_end|>' }}"
    example = turns(("user", "a"), ("assistant", "one"), ("user", "not this"), ("assistant", "two"))
    assert learned(chatml(plain), example) == ["one", "two\n<|im_end|>"]


def test_a_template_that_takes_no_question_is_refused_in_one_line():
    with pytest.raises(UserError, match=r"^data\.template: the tokenizer's chat template takes no question and answer"):
        encoder(chatml("{{ raise_exception('never') }}"))


def test_the_token_that_ends_a_turn_ends_an_answer():
    tokenizer = chatml()
    assert encoder(tokenizer).ends == (tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|im_end|>"))


CHAT, QA, TEXT = turns(("user", "a"), ("assistant", "b")), {"question": "a", "answer": "b"}, {"text": "a"}


@pytest.mark.parametrize(
    ("asked", "row", "has_own", "chosen"),
    [
        (None, CHAT, True, "chat"),
        (None, QA, True, templates.TEXT),
        (None, TEXT, True, templates.WHOLE),
        ("chat", QA, True, "chat"),
        ("Q: {question}", QA, True, "Q: {question}"),
    ],
)
def test_the_template_is_the_rows_own_unless_one_is_named(asked, row, has_own, chosen):
    assert templates.chosen(asked, [row], has_own) == chosen
    note = templates.note(asked, "chat" if chosen == "chat" else "text", chosen, has_own)
    assert (note is not None) == (chosen == templates.TEXT)


@pytest.mark.parametrize(
    ("asked", "row", "has_own", "line"),
    [
        ("chat", QA, False, "data.template: the model's tokenizer has no chat template, takes a text"),
        (None, CHAT, False, "data.template: the model's tokenizer has no chat template, rows of conversations take"),
        ("chat", TEXT, True, "data.template: got one, and rows of text have no place"),
        ("{question}", CHAT, True, "data.template: got a text, and the rows are conversations"),
    ],
)
def test_templates_and_rows_that_do_not_go_together_are_refused(asked, row, has_own, line):
    with pytest.raises(UserError) as refusal:
        templates.chosen(asked, [row], has_own)
    assert str(refusal.value).startswith(line)


@pytest.mark.parametrize("header", ["<|bot|>", "ASSISTANT:\n"], ids=["token", "line"])
def test_a_header_that_begins_thinking_is_told_from_earlier_turns_that_have_none(header):
    """Where the header's tokens are no control tokens, as DeepSeek's are not, or where it is plain text."""
    tokenizer = chatml(
        "{% for m in messages %}{% if m['role'] == 'user' %}{{ 'USER: ' + m['content'] }}{% else %}{{ 'HEADER' + "
        "m['content'] + '<|im_end|>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'HEADER<think>\n' }}"
        "{% endif %}".replace("HEADER", header)
    )
    tokenizer.add_tokens(["<|bot|>"])
    said = [("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "two")]
    assert learned(tokenizer, turns(*said)) == ["one<|im_end|>", "two<|im_end|>"]


def test_test_problems_are_put_into_the_form_of_training():
    assert in_form_of(CHAT, QA) == CHAT
    assert in_form_of(QA, QA) == QA
    for other, example in ((QA, CHAT), (TEXT, QA), (CHAT, TEXT)):
        with pytest.raises(UserError, match=r"^data: test rows have .* training rows .*; takes both in one form$"):
            in_form_of(other, example)
