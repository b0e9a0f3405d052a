"""How many tokens a text is taken for, beside what the embedded model's own tokenizer makes of it."""

from typing import Any

import gguf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corrector import protect, segments
from corrector.corrector import ROOM_TO_GROW, CorrectorOptions
from corrector.engines.llamacpp import model_path
from corrector.segments import Segmenter

LANGUAGES = {
    "English": "Plants use the light of the sun to turn water and air into sugar. That is why life on earth needs it.",
    "German": "Pflanzen können das Licht der Sonne nutzen, um größere Mengen Wasser und Luft in Zucker zu verwandeln.",
    "French": "Les végétaux utilisent la lumière pour créer du sucre à partir de l'eau et de l'air, là où ça pousse.",
    "Polish": "Rośliny wykorzystują światło słońca, żeby zmieniać wodę i powietrze w cukier, więc są tak ważne.",
    "Czech": "Rostliny využívají sluneční světlo, aby měnily vodu a vzduch v cukr, a proto jsou tak důležité.",
    "Turkish": "Bitkiler güneş ışığını kullanarak suyu ve havayı şekere dönüştürür; bu yüzden çok önemlidir.",
    "Vietnamese": "Thực vật sử dụng ánh sáng mặt trời để biến nước và không khí thành đường, nên rất quan trọng.",
    "Russian": "Растения используют солнечный свет, чтобы превращать воду и воздух в сахар. Поэтому они так важны.",
    "Greek": "Τα φυτά χρησιμοποιούν το φως του ήλιου για να μετατρέπουν το νερό και τον αέρα σε ζάχαρη.",
    "Hebrew": "צמחים משתמשים באור השמש כדי להפוך מים ואוויר לסוכר, ולכן הם כל כך חשובים לחיים.",
    "Arabic": "تستخدم النباتات ضوء الشمس لتحويل الماء والهواء إلى سكر، ولهذا هي مهمة جدا للحياة.",
    "Hindi": "पौधे सूर्य के प्रकाश का उपयोग करके पानी और हवा को चीनी में बदलते हैं, इसलिए वे महत्वपूर्ण हैं।",
    "Thai": "พืชใช้แสงอาทิตย์เปลี่ยนน้ำและอากาศเป็นน้ำตาล จึงสำคัญมากต่อสิ่งมีชีวิตบนโลก",
    "Chinese": "植物利用阳光把水和空气变成糖，所以它们对地球上的生命非常重要。没有植物，动物也不能生存。",
    "Japanese": "植物は太陽の光を使って水と空気を砂糖に変えます。だから地球の生命にとってとても大切です。",
    "Korean": "식물은 햇빛을 이용하여 물과 공기를 설탕으로 바꾼다. 그래서 지구의 생명에게 매우 중요하다.",
    "emoji": "😀🎉🚀🌍🔥💡🤖🙏",
    "figures": "14159265358979323846264338327950288419716939937510",
    "a table of numbers": "\n| Jan | 1180 | 412 | 1592 |",
    "a list of dates": "\n- 1969-07-20: July 20, 1969, 20:17",
}


@pytest.fixture(scope="module")
def embedded() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    reader = gguf.GGUFReader(model_path("smollm2-135m-instruct"))
    tokens, merges = (reader.fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "merges"))
    pairs = [tuple(merge.split(" ")) for merge in merges]
    made = Tokenizer(models.BPE({token: at for at, token in enumerate(tokens)}, pairs))
    digits, words = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([digits, words])
    return made


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_longest_part_has_room_to_be_copied(embedded: Any, language: str) -> None:
    """In any language: a part that takes more tokens than its correction may have could never be corrected."""
    most = CorrectorOptions().max_new_tokens
    part = segments.split(f"{LANGUAGES[language]} " * 60, int(most / ROOM_TO_GROW))[0]
    assert most / 3 < len(embedded.encode(part).ids) <= most


def test_what_is_figures_for_the_most_part_may_be_as_long_as_its_copy(embedded: Any) -> None:
    """Else a page of them after a harmful paragraph would keep it from being rewritten: its copy would be cut off."""
    text = f"{LANGUAGES['English'] * 3}{LANGUAGES['figures'] * 11}"
    assert len(embedded.encode(text).ids) <= segments.tokens(text) * ROOM_TO_GROW


def test_half_a_surrogate_pair_counts_too() -> None:
    assert segments.tokens("a\ud83d") == 2


LONG = "A paragraph of its own, that has so many words that it need not wait for what comes after it.\n\n"
FRAGMENTS = (
    "word ", "A sentence of it. ", "\n", "\n\n", "```\n", "```py\n", "text ```py\n", "x ```sh", "`", "\\`", "<pre>",
    "</pre>", "<tool_call>", "</tool_call>", "$x_1 ", "$", "$ a ", "= b\n", r"\( a", r"\)", r"\[", "\n$$", "- item ",
    "f(x);\n", "~~~\n", LONG,
)  # fmt: skip


def cut(text: str, size: int) -> list[str]:
    segmenter = Segmenter()
    ready = [one for at in range(0, len(text), size) for one in segmenter.feed(text[at : at + size])]
    return ready + segmenter.finish()


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=120), st.integers(1, 40))
def test_segments_are_the_same_however_the_text_came(fragments: list[str], size: int) -> None:
    text = "".join(fragments)
    assert "".join(cut(text, size)) == text
    assert cut(text, size) == cut(text, max(1, len(text)))


@pytest.mark.parametrize(
    "block",
    [
        "Here is the code: ```python\nimport os\n\n- a\n# b\n\nos.sync()\n```\n",
        "<pre>\na\n\n- b\n\nc\n</pre>\n",
        '<tool_call>\n{"a":\n\n- "b"}\n</tool_call>\n',
    ],
)
def test_what_is_protected_is_not_cut(block: str) -> None:
    for size in (1, 9, 1000):
        segmented = cut(f"{LONG}{block}\n{LONG}", size)
        assert any(block in one for one in segmented)
        assert [span for one in segmented for span in protect.mask(one).spans] == list(protect.mask(block).spans)


INTRODUCTION = "Some words of an introduction that goes on for quite a while here.\n"
TABLE = "| a | b |\n| --- | --- |\n| one | two |\n| three | four |\n| five | six |\n"


@pytest.mark.parametrize(
    ("text", "size", "parts"),
    [
        (
            f"{INTRODUCTION}\n## A heading\n\nThen a paragraph of the section follows, with more words than fit here.",
            40,
            [
                f"{INTRODUCTION}\n",
                "## A heading\n\nThen a paragraph of the section follows, with more words than fit here.",
            ],
        ),
        (
            f"{INTRODUCTION}These are the steps:\n\n- one thing to do\n- two things to do\n- three things",
            38,
            [f"{INTRODUCTION}These are the steps:\n\n- one thing to do\n", "- two things to do\n- three things"],
        ),
        (
            f"{INTRODUCTION}**Steps:**\n\nDo one thing, and then another one, until all of it has been done.",
            36,
            [INTRODUCTION, "**Steps:**\n\nDo one thing, and then another one, until all of it has been done."],
        ),
        (f"{INTRODUCTION}\n{TABLE}\nMore.", 46, [f"{INTRODUCTION}\n", f"{TABLE}\nMore."]),
        (
            f"| - | - |\n{TABLE}",
            26,
            ["| - | - |\n| a | b |\n| --- | --- |\n| one | two |\n| three | four |\n", "| five | six |\n"],
        ),
    ],
)
def test_nothing_is_cut_from_what_introduces_it_nor_a_table_from_its_head(
    text: str, size: int, parts: list[str]
) -> None:
    assert segments.split(text, size) == parts
