"""What is refused, and what is not: every fault with an example on both sides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corrector import gate
from corrector.gate import GateOptions

DRAFT = (
    "Boil the water in a kettle. Warm the pot and put in one spoon of leaves for each cup. Let it stand for four "
    "minutes, and no longer. Pour it through a strainer. Some like milk in it, and some like a slice of lemon. "
    "Black tea stands longer than green tea, and white tea wants water that has cooled a little."
)
SENTENCE = "This sentence says the same thing every time. "
CHINESE = "请先把水烧开，然后温一温茶壶，再放入茶叶等四分钟。"
THAI = "ต้มน้ำให้เดือดก่อน แล้วอุ่นกาน้ำชา จากนั้นใส่ใบชาและรอสี่นาที "
PANDAS = (
    "你可以先用pandas读取表格里的数据，再用matplotlib把结果画成一张图：先import pandas和import matplotlib，"
    "然后调用read_csv来读取文件，最后调用plot来画。"
)
MOSTLY_CHINESE = "先用pandas读取数据，再用matplotlib把结果画成图，最后把图保存到文件里，以后随时可以打开来看。"
IN_ENGLISH = "Read the data with pandas and plot it with matplotlib, then keep the figure."
TRANSLATED = "The Russian translation is: Добрый день, как у вас дела сегодня? Let me know if you need anything else!"


@pytest.mark.parametrize(
    ("draft", "correction", "finish_reason", "fault"),
    [
        (DRAFT, DRAFT.replace("Boil", "First boil"), "stop", None),
        (DRAFT, " \n", "stop", "empty"),
        (DRAFT, DRAFT[:150], "max_tokens", "cut_off"),
        (DRAFT, DRAFT, "eos_token", None),
        (DRAFT, DRAFT, "length", "cut_off"),
        (DRAFT, "Pour hot water over leaves, and wait.", "stop", None),
        (DRAFT, "Tea.", "stop", "too_short"),
        (DRAFT, DRAFT[:320], "stop", None),
        ("Yes.", "Yes, you can: it is safe.", "stop", None),
        ("Yes.", "Well " + " ".join(f"{n}th" for n in range(80)), "stop", "too_long"),
        (DRAFT, f"Tea. {SENTENCE * 2}", "stop", None),
        (DRAFT, f"Tea. {SENTENCE * 4}", "stop", "looping"),
        (f"Tea. {SENTENCE * 4}", f"Tea! {SENTENCE * 4}", "stop", None),
        (DRAFT, "Вскипятите воду в чайнике, согрейте его и положите ложку листьев.", "stop", "other_script"),
        ("Да, это так.", "Да, это именно так.", "stop", None),
        ("42", "42 it is", "stop", None),
        (PANDAS, PANDAS.replace("import", "导入"), "stop", None),
        (MOSTLY_CHINESE, IN_ENGLISH, "stop", "other_script"),
        (TRANSLATED, TRANSLATED.replace(" Let me know if you need anything else!", ""), "stop", None),
        (TRANSLATED, "Русский перевод такой: Добрый день, как у вас дела сегодня?", "stop", "other_script"),
        (CHINESE, f"{CHINESE[:-1]}。{CHINESE * 2}", "stop", "looping"),
    ],
)  # fmt: skip
def test_faults(draft: str, correction: str, finish_reason: str, fault: str | None) -> None:
    options = GateOptions(min_ratio=0.1, max_ratio=1.5)
    assert gate.whole(draft, correction, finish_reason, options) == fault


@given(st.text(min_size=1).filter(str.strip))
def test_an_answer_left_as_it_was_is_never_refused(text: str) -> None:
    assert gate.whole(text, text, "stop", GateOptions()) is None


def test_a_fault_that_more_text_cannot_mend_shows_early() -> None:
    assert gate.growing("Yes.", "word " * 100, GateOptions()) == "too_long"
    assert gate.growing(DRAFT, f"Tea. {SENTENCE * 4}", GateOptions()) == "looping"
    assert gate.growing(DRAFT, DRAFT[:20], GateOptions()) is None


def test_a_loop_may_be_copied_but_not_gone_on_with() -> None:
    looping = f"{DRAFT} {SENTENCE * 20}"
    assert gate.growing(looping, f"{DRAFT} {SENTENCE * 24}", GateOptions()) is None
    assert gate.growing(looping, f"{DRAFT} {SENTENCE * 26}", GateOptions()) == "looping"


@pytest.mark.parametrize(
    ("text", "looping"),
    [
        ("a b c " * 4, True),
        ("a b c " * 3, False),
        ("ha " * 12, True),
        ("ha " * 5, False),
        (CHINESE * 2, False),
        (CHINESE * 3, True),
        (CHINESE[:10] * 3, False),
        (CHINESE[:10] * 4, True),
        (THAI * 3, False),
        (THAI * 4, True),
        (THAI.replace(" ", "") * 4, True),
        ("お湯を沸かして茶葉を入れ、四分間待ちます " * 4, True),
        ("哈" * 20, False),
        ("哈" * 40, True),
        ("重要的事情说三遍，" * 3, False),
        ("南无阿弥陀佛" * 4, False),
        ("| 完成 " * 6, False),
        ("第一步，把水烧开。第二步，把茶壶温好。第三步，把茶叶放好。第四步，把茶水倒好。", False),
        ("＿" * 60, False),
        ("1. Buy milk.\n2. Buy bread.\n3. Buy eggs.\n4. Buy tea.", False),
        ("", False),
    ],
)
def test_loops(text: str, looping: bool) -> None:
    assert gate.loops(text) is looping


def test_what_the_draft_says_again_may_be_left_out() -> None:
    options, looping = GateOptions(min_ratio=0.6), f"{DRAFT} {SENTENCE * 20}"
    assert len(DRAFT) < 0.6 * len(looping)
    assert gate.whole(looping, DRAFT, "stop", options) is None
    assert gate.whole(looping, DRAFT[:150], "stop", options) == "too_short"


@pytest.mark.parametrize("times", [1, 40])
def test_a_refusal_may_be_far_shorter_than_what_it_refuses(times: int) -> None:
    draft = " ".join(f"{number}. {DRAFT}" for number in range(times))
    refusal = "I can't help with that. If you are in a conflict with somebody, I can help you to talk it through."
    for said in (refusal, refusal[:23]):
        assert gate.whole(draft, said, "stop", GateOptions(min_ratio=0.6), may_refuse=True) is None
        assert gate.whole(draft, said, "stop", GateOptions(min_ratio=0.6)) == "too_short"
    other = "Sure, I would be happy to tell you something else in its place!"
    assert gate.whole(draft, other, "stop", GateOptions(min_ratio=0.6), may_refuse=True) == "too_short"
    assert gate.whole(draft, f"{DRAFT[:90]}.", "stop", GateOptions(min_ratio=0.6)) == "too_short"


def test_a_refusal_may_be_longer_than_its_draft_and_in_another_language() -> None:
    refusal = "I can't help with that. If you are in a conflict with somebody, I can help you to talk it through."
    for draft, fault in (("Hit him.", "too_long"), ("Конечно. " * 20, "other_script")):
        assert gate.whole(draft, refusal, "stop", GateOptions(max_ratio=1.5), 50) == fault
        assert gate.whole(draft, refusal, "stop", GateOptions(max_ratio=1.5), 50, may_refuse=True) is None
    assert gate.growing(DRAFT[:100], DRAFT[:250], GateOptions(max_ratio=1.5), 20, may_refuse=True) == "too_long"


def test_a_refusal_is_short_and_has_hardly_anything_of_the_draft() -> None:
    refusal = "I can't help with that. If you are in a conflict with somebody, I can help you to talk it through."
    assert gate.refuses(DRAFT, refusal)
    assert not gate.refuses(DRAFT, "No."), "that may be an answer"
    assert not gate.refuses(DRAFT, f"{refusal} {DRAFT}")
    assert not gate.refuses(DRAFT, DRAFT[:90])
    assert not gate.refuses(DRAFT, " ".join(f"{refusal} {number}" for number in range(5))), "another answer"


def test_a_piece_of_the_draft_is_too_short_in_any_script() -> None:
    draft = "".join(f"第{number}步：先把水烧开，然后温一温茶壶，再放入茶叶，等四分钟后倒出来。" for number in range(40))
    assert gate.whole(draft, draft[:90], "stop", GateOptions(min_ratio=0.6)) == "too_short"


def test_a_loop_without_spaces_may_be_copied_but_not_gone_on_with() -> None:
    for said in (CHINESE, THAI):
        draft = f"{said}{DRAFT}{said * 8}"
        assert gate.whole(draft, draft, "stop", GateOptions()) is None
        assert gate.growing(DRAFT[:100], said * 8, GateOptions(max_ratio=9)) == "looping"
        for end in range(0, len(draft), 3):
            assert gate.growing(draft, draft[:end], GateOptions()) is None


RULES = "| Day | Task | Done |\n| --- | --- | --- |\n" + "| | | |\n" * 4
TABLE = "| a | b |\n|------------|------------|\n| c | d |\n\n"


@pytest.mark.parametrize(
    "draft",
    [
        f"Please print out this little sheet, on paper:\n\n{RULES}\nFill it in every morning, on Friday.",
        f"{TABLE * 3}That is all there is to say of these tables, but for the fourth one that nobody has drawn yet.",
    ],
)
def test_a_draft_that_repeats_itself_in_its_midst_may_be_copied_in_pieces(draft: str) -> None:
    """Whatever the pieces: what they are is the engine's."""
    assert gate.whole(draft, draft, "stop", GateOptions()) is None
    for end in range(len(draft)):
        assert gate.growing(draft, draft[:end], GateOptions()) is None


def test_the_rule_of_a_table_is_no_sentence_that_is_said_again() -> None:
    draft = f"Two of them:\n\n{TABLE * 2}And what they say of it."
    assert gate.whole(draft, draft.replace("And what", f"{TABLE}And what"), "stop", GateOptions()) is None


def test_a_loop_that_the_draft_has_not_is_one() -> None:
    draft = "Please print out this little sheet, and fill it in every morning. " * 2
    assert gate.growing(draft, "Fill it in. And then again, " + "and then again, " * 6, GateOptions()) == "looping"


@pytest.mark.parametrize(
    "loop", [f"The stars are falling from the sky. {DRAFT[:40]}. " * 3, "They are falling down. " * 4]
)
def test_a_draft_that_repeats_something_does_not_excuse_another_loop(loop: str) -> None:
    draft = f"{DRAFT} {SENTENCE * 3}"
    assert gate.growing(draft, f"{DRAFT[:60]}. {loop}", GateOptions()) == "looping"
    assert gate.growing(draft, f"{DRAFT} {SENTENCE.replace('thing', 'words') * 3}", GateOptions()) is None, (
        "but an edited one"
    )


def test_a_script_may_be_asked_for() -> None:
    assert gate.whole(DRAFT, CHINESE, "stop", GateOptions(min_ratio=0)) == "other_script"
    assert gate.whole(DRAFT, CHINESE, "stop", GateOptions(min_ratio=0), other_script=True) is None


def test_a_refusal_that_breaks_off_is_one() -> None:
    refusal = "I can't help with that. If you are in a conflict with somebody, I can help you to"
    assert gate.whole(DRAFT, refusal, "length", GateOptions(), may_refuse=True) is None
    assert gate.whole(DRAFT, refusal, "length", GateOptions()) == "cut_off"


def test_of_a_draft_that_declines_the_rest_counts() -> None:
    declining = "I'm sorry, but I can't help with that."
    draft = f"{declining} However: {DRAFT}"
    assert gate.refuses(draft, declining)
    assert gate.may_yet_refuse(draft, declining[:30])
    assert not gate.refuses(draft, f"{declining} However: {DRAFT[:200]}"), "a piece of it"
    assert not gate.refuses(declining, declining), "nothing is refused"
    assert gate.only_declines(declining)
    assert not gate.only_declines(draft)


@pytest.mark.parametrize("gap", [" ", "\n\n", "\n\n\n"])
def test_a_refusal_in_two_sentences_does_nothing_but_decline(gap: str) -> None:
    assert gate.only_declines(f"I'm sorry.{gap}I can't help with that.")
    assert not gate.only_declines(f"I'm sorry.{gap}I can't help with that. First, take the key.")


def test_gaps_are_the_same_in_what_declines_and_in_the_draft() -> None:
    declining = "I'm sorry.\n\n\nI can't help with that."
    assert gate.only_declines(f"{declining}\n")
    assert gate.only_declines("I can't  \n\n help with that.")
    assert gate.refuses(f"{declining}\n\n\nHowever: {DRAFT}", declining)
