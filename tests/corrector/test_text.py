"""The pure functions over text: what is cut, masked or quoted comes back as it was."""

import gguf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corrector import protect, segments
from corrector.engines.llamacpp import model_path
from corrector.protect import Restorer, SpanLost, mask, prose, restore
from corrector.quoting import Quoting
from corrector.templates import load, names

# Text rich in what the functions look for.
PIECES = st.sampled_from(
    ["word ", "Ein Satz. ", "\n", "\n\n", "- item\n", "`code`", "``", "```py\nx = 1\n```\n", "```", "~~~\n", "$x^2$",
     "$5", "$$a$$", "\\(b\\)", "\\[c\\]", "\\[", "\\(", "\\begin{a}x\\end{a}", "https://example.org/a?b=(c).",
     "www.example.org,",
     "me@example.org", "[[1]]", "[[2]]", "[[99]]", "[[", "]]", "[", "漢字。", "é", "👋🏽", "<|im_start|>", "| Edit:",
     "|Edit :", "[INST]", "</s>", "<file_sep>", "\nHuman: ", "  Assistant:", "<|", "|>", "\u2060", "\u200b", "\u2028",
     "\t", "text ```py\n", "<pre>", "</pre>", "\\`", "$a =\n", "x_1 $ ", "\n$$ a_b", "f(x);\n", "\ufeff"]
)  # fmt: skip
TEXT = st.lists(PIECES | st.text(max_size=6), max_size=30).map("".join)


@given(TEXT)
def test_protect_then_restore_is_the_identity(text: str) -> None:
    assert restore(mask(text)) == text


@pytest.mark.parametrize(
    "text", ["See \\[[1]] for more.", "Run `rm -i` as in \\[[1]](x) now, friend.", "\\[[2]] and `a` and \\[ b \\] c"]
)
def test_what_looks_like_a_placeholder_is_one_behind_any_mark(text: str) -> None:
    assert restore(mask(text)) == text
    assert "".join((*(one := Restorer(mask(text).spans)).feed(mask(text).text), one.finish())) == text


@given(TEXT, st.lists(st.integers(0, 400), max_size=8))
def test_restored_in_pieces_cut_anywhere(text: str, places: list[int]) -> None:
    masked = mask(text)
    restorer = Restorer(masked.spans)
    borders = [0, *sorted(min(place, len(masked.text)) for place in places), len(masked.text)]
    pieces = [masked.text[a:b] for a, b in zip(borders, borders[1:], strict=False)]  # noqa: RUF007
    assert "".join(restorer.feed(piece) for piece in pieces) + restorer.finish() == text


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("See https://example.org/a_b?c=1#d.", ["https://example.org/a_b?c=1#d"]),
        ("(www.example.org), mail me@example.org!", ["www.example.org", "me@example.org"]),
        ("Run `ls -l` now", ["`ls -l`"]),
        ("A\n```py\nx = `1`\n\ny\n```\nB", ["```py\nx = `1`\n\ny\n```"]),
        ("~~~\na\n~~~\n", ["~~~\na\n~~~"]),
        ("```py\nnever closed", ["```py\nnever closed"]),
        ("Here $a + b$ is $$c$$ and \\(d\\) and \\[e\\]", ["$a + b$", "$$c$$", "\\(d\\)", "\\[e\\]"]),
        ("\\begin{align}a\\end{align}", ["\\begin{align}a\\end{align}"]),
        ("It costs $5 and then $10 more", []),
        ("[[7]] is text", ["[[7]]"]),
        ("```py\r\nx=1\r\n```\r\nProse.", ["```py\r\nx=1\r\n```"]),
        ("- ```py\n  x=1\n  ```\nProse.", ["- ```py\n  x=1\n  ```"]),
        ("1. ```\n   x\n   ```\n2. Prose.", ["1. ```\n   x\n   ```"]),
        ("1. Prose.\n\n       ```\n       x\n       ```\n   Prose.", ["       ```\n       x\n       ```"]),
        ("> ```\n> x\n> ```\nProse.", ["> ```\n> x\n> ```"]),
        ("````\n```\nx\n```\n````\nProse.", ["````\n```\nx\n```\n````"]),
        ("```x``` is code in a line", ["```x```"]),
        (
            "https://example.org/Foo_(bar) (https://example.org/b)",
            ["https://example.org/Foo_(bar)", "https://example.org/b"],
        ),
        ("http://[::1]:8000/v1 and ftp://a.b/c_ so", ["http://[::1]:8000/v1", "ftp://a.b/c_"]),
        ("`" + "a" * 600 + "` and `b\nc` but not `d\n\ne`", ["`" + "a" * 600 + "`", "`b\nc`"]),
        ("$$a$b$$ is one", ["$$a$b$$"]),
        ("```md\n1. a\n\n    ```\n    x\n    ```\ny\n```\nProse.", ["```md\n1. a\n\n    ```\n    x\n    ```\ny\n```"]),
        ("```md\n> ```\ny\n```\nProse.", ["```md\n> ```\ny\n```"]),
        ("> ```\n> x\n\nProse.", ["> ```\n> x"]),
        ("- it`s\n- that`s", []),
        ("C:\\(x\ny\\)", []),
        ("https://a.b/Foo_(bar_(baz))/{id}, so", ["https://a.b/Foo_(bar_(baz))/{id}"]),
        ("https://a.b/" + "c" * 3000, ["https://a.b/" + "c" * 3000]),
        ("_https://a.b/c_ so", ["https://a.b/c_"]),
        ("\u89c1https://a.b/c\u3002\u7136\u540e", ["https://a.b/c"]),
        ("设函数$f(x)=x^2$的导数为$2x$。", ["$f(x)=x^2$", "$2x$"]),
        ("関数$f(x)$は、함수$g(x)$는", ["$f(x)$", "$g(x)$"]),
        ("H$_2$O, CO$_{2}$level, 5$^\\circ$C, 100$\\mu$m", ["$_2$", "$_{2}$", "$^\\circ$", "$\\mu$"]),
        ("US$5 and US$6, A$7-A$8, 价格是$5，然后$10。", []),
        ("set $HOME and $PATH", []),
        ("name${suffix} is joined, as in file${i}.txt", []),
        ("请联系me@example.org或致电, 메일은 me@example.org으로", ["me@example.org", "me@example.org"]),
        ("m\u00fcller@ex\u00e4mple.de, -a.b+c@d-e.co.uk.", ["m\u00fcller@ex\u00e4mple.de", "-a.b+c@d-e.co.uk"]),
        ("访问https://example.org或www.example.org或致电", ["https://example.org", "www.example.org"]),
        ("见https://zh.wikipedia.org/wiki/C语言。", ["https://zh.wikipedia.org/wiki/C语言"]),
        ("https://例子.中国/a", ["https://例子.中国/a"]),
        # A fence behind words, as models write it, if one alone on its line closes it.
        ("The code: ```py\nx\n\ny\n```\nIt `runs`.", ["```py\nx\n\ny\n```", "`runs`"]),
        ("1. Run: ```sh\n   x\n   ```\n2. Go `on`.", ["```sh\n   x\n   ```", "`on`"]),
        ("\ufeff```py\nx\n```\nProse.", ["\ufeff```py\nx\n```"]),
        ('```py title="a`b"\nx\n```\nProse.', ['```py title="a`b"\nx\n```']),
        ("Begin it with ```python\nand end it. `a`", ["`a`"]),
        ("So: ```python\n`x`\n\nText.\n\n```js\ny\n```\nZ.", ["`x`", "```js\ny\n```"]),
        ("Begin with ```python and so on\n\n```\nx\n```\nProse.", ["```\nx\n```"]),
        # Code whose fence stood in what the answer goes on from.
        ("def f():\n    return 1\n```\n\nIt returns one.", ["def f():\n    return 1\n```"]),
        ("x = f(1);\n```\n\nSo:\n```py\ny\n```\nZ.", ["x = f(1);\n```", "```py\ny\n```"]),
        ("Here it is:\n```\nx = 1\n", ["```\nx = 1\n"]),
        ("Set `a[0]`, `b[1]` and `c[2]` to {}.\n```\nx\n", ["`a[0]`", "`b[1]`", "`c[2]`", "```\nx\n"]),
        ("x = f(1);\n```\ny\n```\nZ.", ["```\ny\n```"]),
        ('<tool_call>{"a": "b c"}</tool_call> It is called.', ['<tool_call>{"a": "b c"}</tool_call>']),
        ('A <pre class="x">\na\n\nb</pre> c <pre> d', ['<pre class="x">\na\n\nb</pre>']),
        # Formulas with spaces, in two lines, long, or cut off; amounts are none.
        ("$ E = mc^2 $ and $f(x) =\n x^2$ so", ["$ E = mc^2 $", "$f(x) =\n x^2$"]),
        ("\\( a\n + b \\) but \\(a\n\nb^2\\)", ["\\( a\n + b \\)"]),
        ("$" + "a \\cdot b_1 " * 60 + "= c$ so", ["$" + "a \\cdot b_1 " * 60 + "= c$"]),
        ("It costs $5 (x_1)\nor 10$ in all, $ 5 and $ 10 $ too.", []),
        ("set $HOME = x and $PATH_A\nand then", []),
        ("Thus\n\\[ x = \\frac{1}{2} +", ["\\[ x = \\frac{1}{2} +"]),
        ("Thus\n$$\na_b", ["$$\na_b"]),
        ("So \\begin{align} x &= 1\n", ["\\begin{align} x &= 1\n"]),
        ("\\[ x = 1\n\nMore of it. See \\[1] a_b, or $$ a_b.", []),
        ("\\begin{a}" + "x" * 9000 + "\\end{a}.", ["\\begin{a}" + "x" * 9000 + "\\end{a}"]),
        ("Thus\n\\[" + "x" * 9000 + "\\].", ["\\[" + "x" * 9000 + "\\]"]),
        ("Type \\` first, then `rm -rf build` to clean.", ["`rm -rf build`"]),
        ("`C:\\` and \\\\`x`", ["`C:\\`", "`x`"]),
        ("`a\nb\nc` but not `d\ne\nf\ng` so", ["`a\nb\nc`"]),
    ],
)
def test_what_is_protected(text: str, spans: list[str]) -> None:
    assert list(mask(text).spans) == spans


@pytest.mark.parametrize(
    "opener",
    [
        "\\[ ",
        "\\( ",
        "\\begin{a} ",
        "$$ ",
        "$a ",
        "`a ",
        "`` ``` ",
        "http://",
        "www.",
        "a@",
        "[[",
        "- ",
        "> ",
        "http://a(",
        "a ```b\n",
        "\n```b `\n\n",
        "<pre>",
        "$ a_",
        "$a_\n",
        "\n$$ a_",
        "\n\n\\[ a_",
        "\n\\begin{a} _",
        "\\`a ",
    ],
)
def test_marks_that_are_never_closed_cost_no_more_than_the_text(opener: str) -> None:
    """A megabyte of them: were each looked for to the end, this would take hours."""
    text = opener * (1_000_000 // len(opener))
    assert restore(mask(text)) == text


def test_a_million_spans_and_one_more_have_their_places() -> None:
    text = "`a` " * 1_000_001
    assert restore(mask(text)) == text


@pytest.mark.parametrize("template", names())
@given(text=TEXT)
def test_what_imitates_is_a_span(template: str, text: str) -> None:
    quoting = Quoting(load(template).DELIMITERS)
    masked = mask(text, quoting.pattern)
    assert restore(masked) == text
    left = quoting.imitates(masked.text)
    assert left is None or protect.PLACEHOLDER.search(left), "only what is no structure, as it holds a placeholder"


@pytest.mark.parametrize("written", ["[[2]] [[1]]", "[[1]] [[1]] [[2]]", "[[1]]", "[[1]] [[2]] [[3]]", "", "[[0]]"])
def test_a_span_moved_repeated_lost_or_invented_is_a_fault(written: str) -> None:
    restorer = Restorer(("a", "b"))
    with pytest.raises(SpanLost):
        restorer.feed(written)
        restorer.finish()


def test_is_there_anything_to_rewrite() -> None:
    assert prose("Hello [[1]]")
    assert not prose("[[1]] 42 --- !")
    assert not prose("")


@given(TEXT, st.integers(1, 60))
def test_parts_join_to_the_text_and_are_short_enough(text: str, size: int) -> None:
    parts = segments.split(text, size)
    assert "".join(parts) == text
    assert all(segments.tokens(part) <= size or len(part) == 1 for part in parts)


@given(TEXT, st.integers(8, 60))
def test_no_placeholder_is_cut_in_two(text: str, size: int) -> None:
    masked = mask(text)
    parts = segments.split(masked.text, size)
    assert sum(len(protect.PLACEHOLDER.findall(part)) for part in parts) == len(masked.spans)


def test_text_is_cut_at_the_gentlest_border() -> None:
    text = "One sentence. Another one.\n\nA new paragraph that is longer."
    assert segments.split(text, 12) == ["One sentence. Another one.\n\n", "A new paragraph that is longer."]
    assert segments.split("One sentence here. Another one there.", 8) == ["One sentence here. ", "Another one there."]


@given(TEXT, st.integers(8, 60))
def test_what_is_shortened_keeps_its_head_and_its_tail(text: str, size: int) -> None:
    short = segments.shorten(text, size)
    if segments.tokens(text) <= size:
        assert short == text
    else:
        head, tail = short.split("\n[...]\n", 1) if text.count("\n[...]\n") == 0 else ("", "")
        assert text.startswith(head)
        assert text.endswith(tail)


def test_where_a_half_written_correction_has_come_to() -> None:
    draft = "First of all, boil the water well. Then warm the pot. At the end pour it out."

    def rest(written: str) -> tuple[str, bool]:
        end, seamless = segments.resumed(draft, written)
        return draft[end:], seamless

    assert rest("First, please boil the water") == (" well. Then warm the pot. At the end pour it out.", True)
    assert rest("First, please boil the water well.") == (" Then warm the pot. At the end pour it out.", True)
    assert rest("Boil the water well. Then warm the pot with care") == (
        "Then warm the pot. At the end pour it out.",
        False,
    )
    assert rest("Nothing of this is in there") == (draft, False)
    assert rest("In short: at the end pour it out. At the end") == (draft, False), "three words far ahead of all else"
    assert rest("Unfirst of all,") == (draft, False)
    assert rest("First of a") == ("ll, boil the water well. Then warm the pot. At the end pour it out.", True)
    assert segments.resumed("You cannot mix bleach with that.", "You can ") == (0, False), "another word"
    assert segments.resumed("Therefore, mix it with water.", "The ") == (0, False)
    assert segments.resumed("You can not do that.", "You can ") == (7, True)


@pytest.mark.parametrize(
    ("written", "rest", "seamless"),
    [
        ("其实，请先把水烧开，然后", "温一温茶壶。再放入茶叶等四分钟，最后倒出来。", True),
        ("其实，请先把水烧开，然后温一温茶壶。再放入一勺糖", "再放入茶叶等四分钟，最后倒出来。", False),
        ("其实先把", "请先把水烧开，然后温一温茶壶。再放入茶叶等四分钟，最后倒出来。", False),
        ("总之，茶叶等四分钟，最后", "请先把水烧开，然后温一温茶壶。再放入茶叶等四分钟，最后倒出来。", False),
    ],
)
def test_where_one_without_spaces_has_come_to(written: str, rest: str, seamless: bool) -> None:
    draft = "请先把水烧开，然后温一温茶壶。再放入茶叶等四分钟，最后倒出来。"
    end, went_on = segments.resumed(draft, written)
    assert (draft[end:], went_on) == (rest, seamless)


def test_two_thai_texts_have_letters_in_common_and_no_more() -> None:
    draft = "ต้มน้ำให้เดือดก่อนแล้วอุ่นกาน้ำชาจากนั้นใส่ใบชาและรอสี่นาทีจึงเทออก"
    assert segments.resumed(draft, f"ที่จริง{draft[:40]}") == (40, True)
    other = "พืชใช้แสงอาทิตย์เปลี่ยนน้ำและอากาศเป็นน้ำตาลจึงสำคัญมากต่อสิ่งมีชีวิตบนโลกของเรานี้"
    assert segments.resumed(draft, f"{other}{draft[-20:-5]}") == (0, False)


def test_words_and_characters_of_one_text_are_found_with_any_space_between_them() -> None:
    draft = "先用Python的pandas读取数据，然后用 matplotlib 把它画出来，再保存。"
    end, went_on = segments.resumed(draft, "当然，先用 Python 的 pandas 读取数据，然后用matplotlib")
    assert (draft[end:], went_on) == (" 把它画出来，再保存。", True)


@given(TEXT, st.integers(0, 200))
def test_what_has_not_been_written_is_never_skipped(text: str, upto: int) -> None:
    """A correction that copies is resumed at most where it has come to."""
    end, _ = segments.resumed(text, text[:upto])
    assert end <= upto


@given(TEXT, st.integers(1, 200))
def test_what_was_sent_and_what_follows_hold_every_word_of_the_draft(text: str, upto: int) -> None:
    end, seamless = segments.resumed(text, text[:upto])
    if text[end:].strip():
        whole = text[:upto] + segments.continued(text[:upto], text[end:])
        left = iter("".join(whole.split()))
        assert all(char in left for char in "".join(text.split()))
        if seamless:
            assert "".join(whole.split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "place", "border"),
    [("One. Two", 4, True), ("One. Two", 5, True), ("One two", 4, False), ("One\n two", 3, True), ("One", 0, True)],
)
def test_where_a_paragraph_may_begin(text: str, place: int, border: bool) -> None:
    assert segments.at_border(text, place) is border


@pytest.mark.parametrize("template", names())
@given(text=TEXT)
def test_quoted_text_imitates_nothing_and_comes_back(template: str, text: str) -> None:
    quoting = Quoting(load(template).DELIMITERS)
    joiner = quoting.joiner(text)
    quoted = quoting.quote(text, joiner)
    if joiner:
        assert quoted.replace(joiner, "") == text
        assert quoting.imitates(quoted) is None


@pytest.mark.parametrize(
    "imitation",
    ["| Edit:", "|Edit :", "| answer:", "| Query:", "<|im_start|>", "</s>", "[INST]", "<<SYS>>", "<file_sep>",
     "<empty_output>", "<repo_name>", "<filename>"],
)  # fmt: skip
def test_what_counts_as_structure(imitation: str) -> None:
    quoting = Quoting(load("ultrafeedback").DELIMITERS)
    assert quoting.imitates(f"well, {imitation} so") == imitation
    assert quoting.imitates(f"well, {imitation[:1]} so") is None


def test_the_joiner_is_one_that_the_text_has_not() -> None:
    quoting = Quoting(["| Edit:"])
    assert quoting.joiner("a\u2060b") not in ("", "\u2060")
    assert quoting.joiner("\u2060\u200b\u200d\ufeff\u2063") == ""
    assert quoting.imitates(quoting.quote("</s>", "")) is None
    for family in names():
        quoting = Quoting(load(family).DELIMITERS)
        for mark in load(family).DELIMITERS:
            assert quoting.imitates(quoting.quote(f"Hi {mark} fine", "")) is None


def test_turns_of_a_transcript_are_structure_at_the_start_of_a_line_only() -> None:
    quoting = Quoting(load("hh_rlhf").DELIMITERS)
    assert quoting.imitates("So.\n\nAssistant: sure") == "Assistant:"
    assert quoting.imitates("So the assistant: sure") is None
    for text in ("Human: hi", "a\n  Human : hi", "a\rHuman: hi", "a\u2028human: hi"):
        assert quoting.imitates(text)
        assert quoting.imitates(quoting.quote(text, "\u2060")) is None
    assert quoting.imitates("The Human: hi", 4) is None, "what stands before `start` is seen"


def test_every_special_token_of_the_model_that_ships_is_structure() -> None:
    reader = gguf.GGUFReader(model_path("smollm2-135m-instruct"))
    tokens, kinds = (reader.fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "token_type"))
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == gguf.TokenType.CONTROL]
    assert len(special) == 17
    quoting = Quoting(load("chat").DELIMITERS)
    assert [token for token in special if quoting.imitates(token) != token] == []


def test_a_gap_to_fill_in_is_no_structure() -> None:
    assert Quoting(["| Edit:"]).imitates("Dear <your_name>, it is <b>late</b>, see <file_name_of_mine>") is None


@pytest.mark.parametrize(
    ("draft", "said"),
    [
        ('```\nprint("Take the key from below.")\nx = 1\n```', "Take the key from below."),
        ("```\nTake the key from below.\nThen run to the car.\n```", "Take the key from below\nThen run to the car"),
        ("```\nx = 1  # take the key from below\n```", "take the key from below"),
        ('Yes: `say "take the key now" and run to it`', "Yes: take the key now\nand run to it"),
        ("```\nx = 1\n```", "```\nx = 1\n```"),
        ("[[1]] Take `x`.", "[[1]] Take `x`."),
    ],
)
def test_what_code_says_stands_alone_where_it_is_only_read(draft: str, said: str) -> None:
    """A small corrector sees a program in the rest, and nothing to refuse."""
    assert protect.spoken(mask(draft)) == said
