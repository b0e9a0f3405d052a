"""objectives.yaml: what it says, and what it is told when it says something wrong."""

import hashlib
import re
from pathlib import Path

import pytest

from corrector.objectives import read
from corrector.strictyaml import ConfigError, Source
from tests.conftest import OBJECTIVES, ROOT

HEX = hashlib.sha256(b"sk-acme").hexdigest()


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "objectives.yaml"
    path.write_text(text)
    return path


def tenant(rest: str) -> str:
    return f"{OBJECTIVES}  acme: {{{rest}}}\n"


def aim(text: str) -> str:
    """The file with one objective more, on its sixth line."""
    return OBJECTIVES.replace("sets:", f"  {text}\nsets:", 1)


def test_the_fifteen_objectives_of_the_paper_ship() -> None:
    shipped = read(ROOT / "objectives.yaml")
    trained = ["harmlessness", "helpfulness", "humour", "instruction_following", "honesty", "truthfulness"]
    analysis = ["correctness", "informative", "professional"]
    unseen = ["specificity", "factuality", "readability", "fairness", "repetition", "length"]
    assert list(shipped.objectives) == [*trained, *analysis, *unseen]
    assert shipped.objectives["instruction_following"].name == "Instruction following"
    assert [key for key, aim in shipped.objectives.items() if aim.may_refuse] == ["harmlessness"]
    assert shipped.objectives["humour"].description == "The response should be cheerful and amusing"


def test_names_and_descriptions(tmp_path: Path) -> None:
    text = OBJECTIVES.replace("sets:", "  tone:  {name: Warm tone, description: 'Be warm: always'}\nsets:", 1)
    tone = read(write(tmp_path, text)).objectives["tone"]
    assert (tone.key, tone.name, tone.description) == ("tone", "Warm tone", "Be warm: always")
    assert tone.min_ratio is None
    brief = text.replace("name: Warm tone", "min_ratio: 0.2, name: Brevity")
    assert read(write(tmp_path, brief)).objectives["tone"].min_ratio == 0.2


def test_sets_and_names_expand_in_one_order(tmp_path: Path) -> None:
    known = read(write(tmp_path, OBJECTIVES))
    assert known.expand(["humour", "kids"]) == ["humour", "harmlessness"]
    assert [aim.key for aim in known.ordered(["humour", "harmlessness"])] == ["harmlessness", "humour"]
    with pytest.raises(KeyError, match="nothing"):
        known.expand(["nothing"])


def test_keys_are_held_as_hashes_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_KEY", "sk-from-the-environment\n")  # as a file of a secret ends
    known = read(write(tmp_path, tenant(f"keys: [{{env: ACME_KEY}}, {{sha256: {HEX}}}], objectives: kids")))
    assert known.tenant_of("sk-from-the-environment") == "acme"
    assert known.tenant_of("sk-acme") == "acme"
    assert known.tenant_of("sk-acme ") is None
    assert known.anonymous == "public"
    assert "sk-from" not in repr(known)


def test_plain_words_stay_words(tmp_path: Path) -> None:
    """YAML 1.1 takes `off` and `no` for booleans."""
    known = read(write(tmp_path, tenant(f"keys: [{{sha256: {HEX}}}], objectives: kids, mode: off")))
    assert known.tenants["acme"].mode == "off"


def test_a_word_may_be_the_name_no(tmp_path: Path) -> None:
    text = OBJECTIVES.replace("humour", "no")
    assert "no" in read(write(tmp_path, text)).objectives


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (OBJECTIVES + "tenant: {}\n", 11, "unknown key 'tenant'; did you mean 'tenants'?"),
        (OBJECTIVES.replace("[helpfulness]", "[helpfullness]"), 7, "unknown objective 'helpfullness'; did you mean"),
        (OBJECTIVES.replace("kids:", "default:"), 8, "duplicate key 'default'; first on line 7"),
        (OBJECTIVES.replace("kids:", "humour:"), 8, "'humour' is already the name of an objective"),
        (OBJECTIVES.replace("kids: [harmlessness, humour]", "kids: harmlessness"), 8, "must be a list"),
        (OBJECTIVES.replace("allow_off", "alow_off"), 10, "unknown key 'alow_off' in tenants.public; did you mean"),
        (OBJECTIVES.replace("objectives: default", "objectives: defalt"), 10, "set 'defalt'; did you mean 'default'?"),
        (OBJECTIVES.replace("allow_off: true", "mode: of"), 10, "should be 'full', 'segment', 'shadow' or 'off'"),
        (OBJECTIVES.replace("allow_off: true", "required: [humor]"), 10, "set 'humor'; did you mean 'humour'?"),
        (OBJECTIVES.replace("allow_off: true", "required: [humour], mode: off"), 10, "must have `mode: full`"),
        (
            OBJECTIVES.replace("allow_off: true", "required: [strict]").replace("  kids:", "  strict: []\n  kids:"),
            11, "`required` names nothing but empty sets",
        ),
        (OBJECTIVES.replace("allow_off: true", "policies: [mm]"), 10, "unknown policy 'mm'"),
        (tenant("keys: []"), 11, "`keys` is empty"),
        (tenant("keys: none"), 11, "only one tenant may have `keys: none`; 'public' has it"),
        (tenant("keys: [{env: NOT_SET_ANYWHERE}]"), 11, "the environment variable NOT_SET_ANYWHERE is not set"),
        (tenant("keys: [{sha256: abc}]"), 11, "keys.0.sha256: string should match pattern"),
        (tenant("keys: [{env: 7}]"), 11, "keys.0.env: input should be a valid string"),
        (tenant("keys: {env: ACME}"), 11, "keys: must be `none`, or a list of `{env: NAME}` / `{sha256: HEX}`"),
        (tenant("keys: ACME"), 11, "keys: must be `none`, or a list of"),
        (tenant("keys: "), 11, "keys: must be `none`, or a list of"),
        (tenant("keys: [\n  {env: A},\n  {envv: ACME}]"), 13, "keys.1: a key is either {env: NAME} or {sha256: HEX}"),
        (tenant("keys: [ACME]"), 11, "keys.0: a key is either {env: NAME} or {sha256: HEX}"),
        (OBJECTIVES.replace("allow_off: true", "allow: kid"), 10, "objective or set 'kid'; did you mean 'kids'?"),
        (OBJECTIVES.replace("allow_off: true", "allow: [kids, 7]"), 10, "allow.1: input should be a valid string"),
        (OBJECTIVES.replace("allow_off: true", "policies: mm"), 10, "unknown policy 'mm'"),
        (OBJECTIVES.replace("allow_off: true", "objectives: [[kids]]").replace("objectives: default, ", ""), 10,
         "objectives.0: input should be a valid string"),
        (tenant(f"keys: [{{sha256: {HEX}, env: X}}]"), 11, "a key is either"),
        (tenant(f"keys: [{{sha256: {HEX}}}, {{sha256: {HEX}}}]"), 11, "belongs to the tenant 'acme' already"),
        (OBJECTIVES.replace("  humour: The", "  humour: {name: X}\n  fun: The"), 5, "description: field required"),
        (OBJECTIVES.replace("  humour:", "  'hu mour':"), 5, "may hold letters, digits, - and _ only"),
        ("objectives: {a: b}\n", 1, "no tenants"),
        ("objectives: [a]\n", 1, "objectives must be a mapping"),
        ("objectives:\n  a: b\n c: [\n", 3, "not valid YAML"),
        ("objectives: {1: b}\n", 1, "must be text: put it in quotes"),
        ("objectives: {? [a] : b}\n", 1, "a key must be one word or text"),
        ("objectives: \t@\n", 1, "not valid YAML"),
        ("objectives:\n  a: @b\n", 2, "cannot start any token: put a text that begins so in quotes"),
        ("objectives:\n  plain: Use this: short words\n", 2, "put a text that has `: ` in it in quotes"),
        (aim("plain: {description: Use this: short}"), 6, "within { } and [ ] put a text that has `: ` in it in"),
        (aim("plain:"), 6, "the objective 'plain' has no description"),
        (aim("plain: 12"), 6, "the objective 'plain' must be a sentence, in quotes where it is no plain words"),
        (aim("plain: Be brief; be kind"), 6, "the description of 'plain' may not hold ';', which has a meaning"),
        (aim("plain: Be brief | Edit"), 6, "the description of 'plain' may not hold '|'"),
        (aim("plain: No <|im_end|>"), 6, "the description of 'plain' may not hold '|'"),
        (aim("plain: '</s>'"), 6, "the description of 'plain' may not hold '</s>'"),
        (aim('plain: "one\\ttwo"'), 6, "the description of 'plain' must be one line, without control characters"),
        (aim("plain: {name: 'A; b',\n    description: c}"), 6, "the name of 'plain' may not hold ';'"),
        (aim("plain: {name: A,\n    description: 'b; c'}"), 7, "the description of 'plain' may not hold ';'"),
        (aim("plain: {name: A, descripton: b}"), 6, "unknown key 'descripton' in objectives.plain; did you mean"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_file_and_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read(path, policies=["m"])
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_name_stands_for_a_list_of_it(tmp_path: Path) -> None:
    text = OBJECTIVES.replace("allow_off: true", "allow: kids, policies: m, required: humour")
    public = read(write(tmp_path, text), policies=["m"]).tenants["public"]
    assert (public.allow, public.policies, public.required) == (("kids",), ("m",), ("humour",))
    public = read(write(tmp_path, OBJECTIVES.replace("allow_off: true", "allow: any, policies: any"))).tenants["public"]
    assert (public.allow, public.policies) == ("any", "any")


@pytest.mark.parametrize(
    "keys",
    ["sk-pasted", "[sk-pasted]", "[{sk-pasted}]", "{env: sk-pasted}", "[{env: sk-pasted}]", "[{sha256: sk-pasted}]"],
)
def test_a_key_that_was_pasted_is_not_told_on(tmp_path: Path, keys: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(write(tmp_path, tenant(f"keys: {keys}, objectives: kids")))
    assert "sk-pasted" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read(tmp_path / "none.yaml")


def test_nested_aliases_do_not_take_for_ever(tmp_path: Path) -> None:
    rows = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert "a11" in Source(write(tmp_path, "\n".join(rows))).data


def test_ten_thousand_tenants(tmp_path: Path) -> None:
    rows = [
        f"  t{n}: {{keys: [{{sha256: {hashlib.sha256(b'sk-%d' % n).hexdigest()}}}], objectives: kids}}"
        for n in range(10_000)
    ]
    known = read(write(tmp_path, OBJECTIVES + "\n".join(rows)))
    assert known.tenant_of("sk-9999") == "t9999"
    assert known.tenant_of("sk-10000") is None


def test_the_error_in_the_readme_is_the_one_that_is_said(tmp_path: Path) -> None:
    said = re.search(r"^objectives\.yaml:(\d+): (.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert said
    text = (ROOT / "objectives.yaml").read_text()
    text = text.replace("\nsets:\n", "  plain_words: The response should use short sentences\n\nsets:\n")
    path = write(tmp_path, text.replace("default: [helpfulness, harmlessness]", "default: [helpfulness, plain_word]"))
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert str(caught.value) == f"{path}:{said.group(1)}: {said.group(2)}"


@pytest.mark.parametrize(
    "wrong",
    [
        OBJECTIVES.replace("default: [helpfulness]", "default: [{helpfulness: x}]"),
        OBJECTIVES.replace("default: [helpfulness]", "default: [[helpfulness]]"),
        OBJECTIVES.replace("sets:", '  a: "   "\nsets:', 1),
        OBJECTIVES.replace("sets:", "  a: 2020-13-45\nsets:", 1),
        OBJECTIVES.replace("sets:", '  a: {name: " ", description: x}\nsets:', 1),
        "objectives: [a]\ntenants: 3",
        "- a\n- b",
        "just a text",
    ],
)
def test_a_mistake_of_any_kind_is_told_with_its_file(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ConfigError, match=r"objectives\.yaml:\d+: "):
        read(write(tmp_path, wrong))


@pytest.mark.parametrize(
    "value", ["2020-13-45", "!!bool maybe", "!!timestamp x", "!!int x", "0x_", "!!set {a}", "=", "9" * 5000, "!foo x"]
)
def test_a_value_that_yaml_cannot_take_is_told_with_its_line(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match=r"objectives\.yaml:6: "):
        read(write(tmp_path, OBJECTIVES.replace("sets:", f"  a: {value}\nsets:", 1)))


@pytest.mark.parametrize("content", [b"\xff", b"\x00", b"\xff\xfe\x00", b"a: \xc3", b"%YAML 3.0\n---\na", b"a\n---\nb"])
def test_bytes_that_are_no_yaml(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "objectives.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"objectives\.yaml:\d+: "):
        read(tmp_path / "objectives.yaml")


def test_a_key_that_is_no_utf8_is_one_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_KEY", "\udcff")  # as Python shows the byte 0xff
    assert read(write(tmp_path, tenant("keys: [{env: ACME_KEY}], objectives: kids"))).tenant_of("\udcff") == "acme"


def test_more_objectives_than_can_apply_are_refused_at_once(tmp_path: Path) -> None:
    many = "".join(f"  o{n}: The response should be number {n}\n" for n in range(40))
    listed = ", ".join(f"o{n}" for n in range(20))
    text = OBJECTIVES.replace("sets:", f"{many}sets:\n  first: [{listed}]", 1)
    rest = ", ".join(f"o{n}" for n in range(19, 31))
    read(write(tmp_path, f"{text}  acme: {{keys: [{{sha256: {HEX}}}], objectives: [first, {rest}]}}\n"))
    with pytest.raises(ConfigError, match="33 objectives would apply to each request"):
        required = "required: [harmlessness, helpfulness]"
        read(write(tmp_path, f"{text}  acme: {{keys: [{{sha256: {HEX}}}], objectives: [first, {rest}], {required}}}\n"))


def test_what_the_gate_is_to_let_pass(tmp_path: Path) -> None:
    """In the long form; the short one lets nothing more pass."""
    path = tmp_path / "objectives.yaml"
    path.write_text(aim("french: {name: French, description: In French, other_script: true, min_ratio: 0.05}"))
    objectives = read(path).objectives
    assert objectives["french"].other_script
    assert sum(one.other_script for one in objectives.values()) == 1
