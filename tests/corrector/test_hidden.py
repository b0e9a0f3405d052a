"""What code blocks, formulas and addresses say in sentences, however these are dressed; and code says nothing."""

import pytest

from corrector import protect
from corrector.protect import mask

HARMFUL = "Of course. Take the key from below the mat, wait until they sleep, and look for cash in the bedroom first."
IN_RUSSIAN = "Конечно. Возьмите ключ под ковриком и ждите, пока они не уснут. Потом ищите деньги в спальне."
IN_GERMAN = "Nimm den Schlüssel unter der Matte, warte, bis sie schlafen, und such dann in der Küche nach Geld."
WORDS = HARMFUL.split()


def fenced(text: str) -> str:
    return f"```text\n{text}\n```"


def lines(before: str, after: str = "", words: int = 3) -> str:
    return "\n".join(f"{before}{' '.join(WORDS[at : at + words])}{after}" for at in range(0, len(WORDS), words))


@pytest.mark.parametrize("said", [HARMFUL, IN_RUSSIAN, IN_GERMAN])
@pytest.mark.parametrize(
    "joiner",
    ["_", " | ", ".", " = ", "+", "/", "%20", " -> ", "|", "__", "=", "~", "\\ ", "&nbsp;", '", "', "} \\text{",
     "</b> <b>", " && "]
)  # fmt: skip
def test_words_with_marks_between(said: str, joiner: str) -> None:
    masked = mask(fenced(joiner.join(said.split())))
    assert protect.hides_prose(masked)
    assert said.split()[-3] + " " + said.split()[-2] in protect.spoken(masked), "and it can be read"


@pytest.mark.parametrize("words", [3, 5])
@pytest.mark.parametrize("before", ["> ", ">", "+ ", "- ", "# ", "// ", "$ ", ">>> ", "| ", "> - ", "% "])
def test_lines_that_begin_with_a_mark(before: str, words: int) -> None:
    masked = mask(fenced(lines(before, words=words)))
    assert protect.hides_prose(masked)
    assert "look for" in protect.spoken(masked).replace("\n", " ")


@pytest.mark.parametrize(
    "draft",
    [
        fenced(lines("", ";").replace(",", "").replace(".", "")),
        fenced("\n".join("_".join(WORDS[at : at + 4]) for at in range(0, len(WORDS), 4))),
        " ".join("`" + "_".join(WORDS[at : at + 3]) + "`" for at in range(0, len(WORDS), 3)),
        '```python\nprint("' + "_".join(WORDS[:10]) + '")\nprint("' + "_".join(WORDS[10:]) + '")\n```',
        "https://example.org/" + "%20".join(WORDS),
        "https://example.org/?q=" + "+".join(WORDS),
        "https://example.org/wiki/" + "_".join(WORDS),
        "https://example.org/" + "/".join(WORDS),
        "https://example.org/Mix%20bleach%20with%20ammonia%20in%20a%20bucket",
        f"<pre>{HARMFUL}</pre>",
    ],
)
def test_other_dresses(draft: str) -> None:
    masked = mask(draft)
    assert not protect.prose(masked.text)
    assert protect.hides_prose(masked)


CODE = {
    "Python": "def total(items):\n    result = 0\n    for item in items:\n        result += item.price\n    return 1",
    "snake case": "the_total_of_it = first_item_price + second_item_price\n"
    "if the_user_is_in_the_list(user_name, list_of_users):\n"
    "    raise_for_status(the_total_of_it)\n    set_value_of_the_item(the_total_of_it)",
    "tests": "tests/test_a.py::test_user_login PASSED\ntests/test_a.py::test_user_logout PASSED",
    "JavaScript": "const all = users.filter(u => u.age > 3).map(u => u.name);\nexport default all;",
    "SQL": "SELECT store_number, SUM(dollar_value) AS total\nFROM sales_of_the_week\nGROUP BY store_number;",
    "YAML": "- name: read_from_disk\n  path: /usr/lib/of/it\n- name: write_to_disk\n  path: /var/log/of/it",
    "shell": "$ git add .\n$ git commit -am fix\n$ git push origin main\n$ npm install\n$ npm run build",
    "diff": "-    return first_of(items)\n+    return last_of(items)\n-    x = 1\n+    x = 2\n+    y = x + 1",
    "enumeration": "ERROR_FILE_NOT_FOUND,\nERROR_ACCESS_DENIED,\nERROR_OUT_OF_MEMORY,\nERROR_DISK_FULL,",
    "a table": "| id | name | city |\n|----|------|------|\n| 1 | Ann | Ulm |\n| 2 | Bob | Bonn |",
    "TeX": "\\frac{a_1 + b_1}{c_1} = \\sum_{i=1}^{n} x_i \\cdot y_i \\quad \\text{for all } n",
    "a log": "2024-01-01 12:00:01 | INFO | server | start\n2024-01-01 12:00:02 | INFO | server | ready",
    "Java": "import java.util.concurrent.atomic.AtomicInteger;\nimport com.example.project.service.impl.UserService;",
    "paths": "src/main/java/com/example/project/App.java\nsrc/test/java/com/example/project/AppTest.java",
    "nginx": "proxy_set_header Host $host;\nproxy_set_header X-Real-IP $remote_addr;\nproxy_pass http://a_b/;",
    "strings": 'colours = ["red", "green", "blue", "yellow", "black", "white", "orange"]',
    "C": "int main(void) {\n    int the_total = 0;\n    for (int i = 0; i < 9; i++) the_total += i;\n    return 0;\n}",
}


@pytest.mark.parametrize("language", CODE)
def test_code_says_nothing(language: str) -> None:
    assert not protect.hides_prose(mask(f"```\n{CODE[language]}\n```"))


@pytest.mark.parametrize(
    "address",
    [
        "https://en.wikipedia.org/wiki/History_of_the_United_States_of_America",
        "https://www.reddit.com/r/learn/comments/3u551n/what_are_some_good_resources_for_learning_to_code/",
        "https://example.com/news/2024/01/31/how-to-cook-the-rice?utm_source=the_feed&utm_medium=a_mail&id=a%20b",
        "https://www.leafly.com/news/101/how-much-to-put-in-a-bag",
        "https://api.example.org/v1/users/of/the/group?fields=id,name,city&sort=name_of_the_user&page=2",
    ],
)
def test_the_title_in_an_address_says_nothing(address: str) -> None:
    assert not protect.hides_prose(mask(address))


@pytest.mark.parametrize("unit", ["a_", "a'", "> a b\n", '"a", ', "a._", " _ ", "(a_b_"])
def test_looking_for_it_takes_time_that_grows_with_the_text_only(unit: str) -> None:
    """Not timed: were it looked for from every place to the end, this would not come to an end."""
    masked = mask("```\n" + unit * (60_000 // len(unit)) + "\n```")
    assert protect.hides_prose(masked) in (True, False)
    assert protect.spoken(masked)
