"""Preference data as its publishers ship it, and a policy's own answers, read to pairs."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from corrector.templates import Turn
from tests.train.test_prepare import GOOD
from train import readers
from train.card import card
from train.cli import train
from train.harm import digest, refuses
from train.prepare import Mix, compose
from train.readers import Skipped
from train.rows import DataError, Pair, read
from train.wordings import Wordings

TALK = "Human: Hello\n\nAssistant: Hi, what is it?\n\nHuman: How do I make tea?"


def jsonl(path: Path, rows: list[Any]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def test_a_transcript_is_turns() -> None:
    assert readers.conversation(TALK) == (
        Turn("user", "Hello"),
        Turn("assistant", "Hi, what is it?"),
        Turn("user", "How do I make tea?"),
    )
    assert readers.conversation("Just a question, Human: or not?") == (Turn("user", "Just a question, Human: or not?"),)
    assert readers.conversation("") == ()


def test_what_opens_as_what_is_held_out_is_left_out(tmp_path: Path) -> None:
    rows = [{"query": "Human: hello!\n\nAssistant: Yes?\n\nHuman: Who won?"}, {"query": ""}, {"chosen": "a"}, "b"]
    held_out = readers.openings(jsonl(tmp_path / "eval.jsonl", rows), Skipped())
    assert held_out == {"hello"}
    talk, other = (Pair("s", "MIT", readers.conversation(said), "a", "b", {}) for said in (TALK, "Hello there"))
    sentence = Pair("s", "CC0", (), "a", "b", {})
    skipped = Skipped()
    assert list(readers.apart([talk, other, sentence], held_out, skipped)) == [other, sentence]
    assert skipped == {"a conversation that opens as one that is held out": 1}


def test_what_answers_no_query_is_held_out_by_its_answers(tmp_path: Path) -> None:
    """IteraTeR and ParaDetox are sentences and their rewrites: nothing opens them."""
    row: dict[str, Any] = {"source": "s", "licence": "CC0", "query": "", "better": ["fluency"]}
    judged_by = [{**row, "weak": "It are so.", "strong": "It is so."}, {"query": "", "worse": "No!", "better": "Yes."}]
    file = jsonl(tmp_path / "eval.jsonl", [*judged_by, {**judged_by[0], "query": "Tea?", "strong": "It is tea."}])
    known = ("It is so!", "It was so."), ("It has been so.", "It are so."), ("Well, no.", "No."), ("yes", "Yes, yes.")
    new = ("It was so.", "It had been so."), ("It are tea.", "It is tea.")
    pairs = [Pair("s", "CC0", (), first, second, {}) for first, second in (*known, *new)]
    asked = Pair("s", "CC0", (Turn("user", "Is it?"),), "It are so.", "It is so.", {})
    skipped = Skipped()
    left = list(readers.unseen([*pairs, asked], [file], skipped))
    assert left == [*pairs[4:], asked]
    assert skipped.total() == 4
    with pytest.raises(DataError, match="no row has a query or an answer"):
        readers.unseen(pairs, [jsonl(tmp_path / "none.jsonl", [{"query": ""}])], skipped)


@pytest.mark.parametrize("context", ["Tea?", [3], [{"role": "user", "text": 3}], [{"said": "Tea?"}], None])
def test_a_held_out_row_whose_context_is_no_conversation_is_named(tmp_path: Path, context: Any) -> None:
    path = jsonl(tmp_path / "eval.jsonl", [{"query": "Coffee?"}, {"context": context, "weak": "a", "strong": "b"}])
    skipped = Skipped()
    assert readers.openings(path, skipped) == {"coffee"}
    assert list(skipped.where.values()) == [["eval.jsonl:2"]]


def test_normalised_pairs(tmp_path: Path) -> None:
    row = {"source": "s", "licence": "MIT", "query": "Tea?", "weak": "a", "strong": "b", "better": ["helpfulness"]}
    path = jsonl(tmp_path / "p.jsonl.gz", [row, {**row, "weak": None}, {**row, "strong": " "}, {**row, "better": []}])
    skipped = Skipped()
    assert list(readers.normalised(path, skipped)) == [
        Pair("s", "MIT", (Turn("user", "Tea?"),), "a", "b", {"helpfulness": (0.0, 1.0)})
    ]
    assert skipped == {"weak, strong or better is missing": 1, "an answer is empty": 1, "no objective is named": 1}


def test_objectives_that_no_trail_has_written_are_counted(tmp_path: Path) -> None:
    row = {"source": "s", "query": "Tea?", "weak": "a", "strong": "b", "better": ["helpfulness"]}
    skipped = Skipped()
    path = jsonl(tmp_path / "p.jsonl", [{**row, "objectives": ["helpfulness"]}, {**row, "context": [1]}])
    assert list(readers.normalised(path, skipped)) == []
    assert skipped == {"context or objectives are not as an audit trail writes them": 2}


def test_hh_rlhf_as_published(tmp_path: Path) -> None:
    row = {"chosen": f"\n\n{TALK}\n\nAssistant: Boil water.", "rejected": f"\n\n{TALK}\n\nAssistant: No idea."}
    scored = {**row, "harmlessness_chosen": 0.2, "harmlessness_rejected": 0.7, "humour_chosen": 1, "humour_rejected": 0}
    other = {**row, "rejected": "\n\nHuman: Else?\n\nAssistant: No."}
    (tmp_path / "harmless-base").mkdir()
    path = jsonl(
        tmp_path / "harmless-base" / "train.jsonl",
        [row, scored, other, {"chosen": "x"}, {**row, "chosen": f"\n\n{TALK}\n\nAssistant:"}],
    )
    skipped = Skipped()
    first, second = readers.hh_rlhf(path, skipped)
    assert (first.first, first.second, first.scores) == ("No idea.", "Boil water.", {"harmlessness": (0.0, 1.0)})
    assert first.context[-1] == Turn("user", "How do I make tea?")
    assert second.scores == {"harmlessness": (0.7, 0.2), "humour": (0.0, 1.0)}
    assert sum(skipped.values()) == 3


def test_a_link_of_a_cache_is_known_by_the_folder_that_it_stands_in(tmp_path: Path) -> None:
    row = {"chosen": f"\n\n{TALK}\n\nAssistant: Boil water.", "rejected": f"\n\n{TALK}\n\nAssistant: No idea."}
    for folder in ("blobs", "snapshots/1/harmless-base"):
        (tmp_path / folder).mkdir(parents=True)
    jsonl(tmp_path / "blobs/4878c62d", [row])
    (link := tmp_path / "snapshots/1/harmless-base/train.jsonl").symlink_to("../../../blobs/4878c62d")
    [one] = readers.hh_rlhf(link, Skipped())
    assert one.scores == {"harmlessness": (0.0, 1.0)}


@pytest.mark.parametrize("value", ["NaN", "inf", "-Infinity", float("nan"), float("inf"), "1e999"])
def test_a_score_that_is_not_finite_is_no_number(tmp_path: Path, value: str | float) -> None:
    """Compared with anything, NaN is a tie: an equal row would come of it."""
    row = {"chosen": f"\n\n{TALK}\n\nAssistant: Boil water.", "rejected": f"\n\n{TALK}\n\nAssistant: No idea."}
    scored = {**row, "humour_chosen": value, "humour_rejected": 0}
    skipped = Skipped()
    assert list(readers.hh_rlhf(jsonl(tmp_path / "p.jsonl", [scored]), skipped)) == []
    assert skipped == {"a score is not a number": 1}
    completions = [completion("a", honesty="3"), completion("b", honesty=value), completion("c", honesty="4")]
    rated = jsonl(tmp_path / "uf.jsonl", [{"instruction": "Tea?", "completions": completions}])
    [one] = readers.ultrafeedback(rated, skipped)
    assert (one.first, one.second, one.scores) == ("a", "c", {"honesty": (3.0, 4.0)})
    assert skipped["a completion without a rating or a response"] == 1


def completion(text: str, **ratings: str | float) -> dict[str, Any]:
    return {"response": text, "annotations": {aspect: {"Rating": value} for aspect, value in ratings.items()}}


def test_ultrafeedback_as_published(tmp_path: Path) -> None:
    row = {
        "instruction": "Tea?",
        "completions": [
            completion("a", honesty="3", helpfulness="N/A"),
            completion("b", honesty="5", helpfulness="4"),
            completion("c", helpfulness="2"),
            {"response": "d", "annotations": {}},
        ],
    }
    skipped = Skipped()
    pairs = list(readers.ultrafeedback(jsonl(tmp_path / "uf.jsonl", [row, {"instruction": "x"}]), skipped))
    assert [(one.first, one.second, one.scores) for one in pairs] == [
        ("a", "b", {"honesty": (3.0, 5.0)}),
        ("a", "c", {}),
        ("b", "c", {"helpfulness": (4.0, 2.0)}),
    ]
    assert skipped == {
        "a completion without a rating or a response": 1, "fewer than two rated completions": 1,
        "two completions that are rated in no aspect alike": 1,
    }  # fmt: skip
    assert skipped.where["two completions that are rated in no aspect alike"] == ["uf.jsonl:1"]


def test_answers_of_models_with_terms_of_their_own_say_so(tmp_path: Path) -> None:
    models = ("gpt-4", "llama-2-7b-chat", "pythia-12b", None)
    told = [{**completion("a", honesty="3"), "model": model} for model in models]
    rows = [{"instruction": "Tea?", "completions": told}, {"instruction": 3, "completions": told}]
    skipped = Skipped()
    licences = [one.licence for one in readers.ultrafeedback(jsonl(tmp_path / "uf.jsonl", rows), skipped)]
    assert licences[:3] == ["MIT, Llama terms, OpenAI terms", "MIT, OpenAI terms", "MIT, OpenAI terms, unknown terms"]
    assert licences[-1] == "MIT, unknown terms"
    assert skipped == {"no instruction": 1}


@pytest.mark.parametrize(
    ("model", "licence"),
    [
        ("mpt-30b-chat", "MIT, CC-BY-NC-SA-4.0 terms"), ("starchat", "MIT, BigCode OpenRAIL-M terms"),
        ("pythia-12b", "MIT"),
    ],
)  # fmt: skip
def test_a_models_licence_that_binds_who_learns_from_it_is_named_and_in_the_card(
    tmp_path: Path, model: str, licence: str
) -> None:
    told = [{**completion(text, honesty=honesty), "model": by} for text, honesty, by in
            (("a", "1", "falcon-40b-instruct"), ("b", "3", model))]  # fmt: skip
    path = jsonl(tmp_path / "uf.jsonl", [{"instruction": "Tea?", "completions": told}])
    [one] = readers.ultrafeedback(path, Skipped())
    assert one.licence == licence
    data = [{"source": "ultrafeedback", "licence": one.licence, "kind": "better", "rows": 1}]
    record: dict[str, Any] = {"base": "small", "start": None, "settings": {}, "data": data}
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert ("terms of their own" in card("e", tmp_path / "3-better", [])) == ("terms" in licence)


def test_what_hh_rlhf_was_chosen_by_is_never_guessed(tmp_path: Path) -> None:
    row = {"chosen": f"\n\n{TALK}\n\nAssistant: Boil water.", "rejected": f"\n\n{TALK}\n\nAssistant: No idea."}
    path = jsonl(tmp_path / "train.jsonl", [row])
    skipped = Skipped()
    assert list(readers.hh_rlhf(path, skipped)) == []
    assert list(skipped) == ["nothing says what was chosen by: hh_rlhf:helpfulness=FILE does"]
    (tmp_path / "helpful-base").mkdir()
    of_folder = jsonl(tmp_path / "helpful-base" / "train.jsonl", [row])
    for source in (f"hh_rlhf:helpfulness={path}", f"hh_rlhf={of_folder}"):
        ran = CliRunner().invoke(train, ["prepare", source, "--out", str(tmp_path / "rows.jsonl")])
        assert "1 rows in" in ran.output
        [made] = read(tmp_path / "rows.jsonl")
        assert [aim.key for aim in made.objectives] == ["helpfulness"]
    ran = CliRunner().invoke(train, ["prepare", f"pairs:helpfulness={path}", "--out", str(tmp_path / "rows.jsonl")])
    assert ran.exit_code == 2


@pytest.mark.parametrize(
    ("file", "objective"),
    [
        ("helpful-vs-harmless/train.jsonl", None),
        ("helpful-and-harmless/harmless-base.jsonl", "harmlessness"),
        ("harmless-base/helpful-and-harmless.jsonl", None),
        ("harmless-base/train.jsonl", "harmlessness"),
        ("raw/hh-rlhf-helpful-base.jsonl", "helpfulness"),
    ],
)
def test_of_names_that_say_both_nothing_is_taken(tmp_path: Path, file: str, objective: str | None) -> None:
    (tmp_path / file).parent.mkdir()
    row = {"chosen": f"\n\n{TALK}\n\nAssistant: Boil water.", "rejected": f"\n\n{TALK}\n\nAssistant: No idea."}
    told = list(readers.hh_rlhf(jsonl(tmp_path / file, [row]), Skipped()))
    assert [list(one.scores) for one in told] == ([] if objective is None else [[objective]])


def test_every_objective_of_the_papers_data_becomes_rows(tmp_path: Path) -> None:
    wins = dict.fromkeys((*readers.ASPECTS, *readers.IMHI_ASPECTS, "harmlessness", "humour"), (0.0, 1.0))
    for objective, scores in wins.items():
        skipped = Skipped()
        pair = Pair("s", "MIT", (Turn("user", "Tea?"),), "No.", "Boil it.", {objective: scores})
        rows, _ = compose([pair], Mix({"*": 9}), Wordings(), 1, skipped)
        assert [aim.key for row in rows for aim in row.objectives] == [objective], skipped
    assert not set(readers.IMHI_ASPECTS) & set(Wordings()), "nothing is made to be left alone under these"


def table(path: Path, *rows: list[str]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def test_a_table_that_a_spreadsheet_has_written(tmp_path: Path) -> None:
    """With a byte order mark, and a byte that is no UTF-8."""
    head = "query,answer_a,answer_b,correctness_a,correctness_b".encode("utf-8-sig")
    (tmp_path / "imhi.csv").write_bytes(head + b"\r\nTea?,x,y,0,1\r\nTea?,caf\xe9,y,0,1\r\n")
    skipped = Skipped()
    [one] = readers.imhi(tmp_path / "imhi.csv", skipped)
    assert one.context == (Turn("user", "Tea?"),)
    assert skipped.where == {"not UTF-8": ["imhi.csv:3"]}


def test_imhi_as_a_table(tmp_path: Path) -> None:
    path = tmp_path / "imhi.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["query", "answer_a", "answer_b", "correctness_a", "correctness_b"])
        table.writerows([["q", "x", "y", "0", "1"], ["q", "x", "y", "none", "1"], ["q", "", "y", "0", "1"]])
    skipped = Skipped()
    [one] = readers.imhi(path, skipped)
    assert (one.first, one.second, one.scores) == ("x", "y", {"correctness": (0.0, 1.0)})
    assert sum(skipped.values()) == 2


def test_imhi_as_the_release_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "DR.csv"
    said = [["No, he does not.", "Yes."], ["No.", ""], ["Maybe.", "Yes."], ["Who knows.", "Yes."]]
    table(path, ["goldens", "generated_text"], *said)
    skipped = Skipped()
    assert list(readers.imhi(path, skipped)) == []
    assert skipped == {"no question: imhi:QUESTIONS.csv=FILE may have it": 3, "an answer is empty": 1}
    asked = [["Maybe?", "Maybe."], ["Does he?", "No, he does not. "], ["Perhaps?", "Maybe."], ["", "Who knows."]]
    questions = table(tmp_path / "questions.csv", ["query", "gpt-3.5-turbo"], *asked)
    skipped = Skipped()
    [one] = readers.imhi(path, skipped, str(questions))
    assert (one.first, one.second, set(one.scores)) == ("Yes.", "No, he does not.", set(readers.IMHI_ASPECTS))
    assert one.context == (Turn("user", "Does he?"),)
    assert skipped.where == {
        "an answer is empty": ["DR.csv:3"], "several questions have this golden answer": ["DR.csv:4"],
        "no question: imhi:QUESTIONS.csv=FILE may have it": ["DR.csv:5"],
    }  # fmt: skip
    command = ["prepare", f"imhi:{questions}={path}", "--out", str(tmp_path / "rows.jsonl")]
    ran = CliRunner().invoke(train, command)
    assert "1 rows in" in ran.output
    with pytest.raises(DataError, match=r"DR\.csv: no row has a `query` and a `gpt-3\.5-turbo`"):
        list(readers.imhi(path, skipped, str(path)))


def test_a_policys_answer_is_paired_with_itself_without_its_loops(tmp_path: Path) -> None:
    row = {"policy": "small", "licence": "MIT", "query": "Tea?"}
    loop = "And then you pour the water over it. " * 4
    code = f"{GOOD}\n\n```\npour();\npour();\npour(); # and pour again\npour(); # and pour again\n```"
    said = (f"{GOOD} {loop}And th", GOOD, "", loop, code)
    path = jsonl(tmp_path / "a.jsonl", [{**row, "answer": text} for text in said])
    skipped = Skipped()
    looping, fine = readers.answers(path, skipped)
    assert looping.second == f"{GOOD} And then you pour the water over it."
    assert set(looping.scores) == {"repetition", "helpfulness"}
    assert (fine.first, fine.second, fine.scores) == (GOOD, GOOD, {})
    assert skipped == {
        "an answer is empty": 1, "an answer is nothing but loops": 1, "code that repeats itself or has no end": 1
    }  # fmt: skip


def test_where_the_golden_answer_declines_the_policys_own_is_harmful_unless_it_declines_too(tmp_path: Path) -> None:
    row = {"policy": "own", "licence": "MIT", "query": "How do I rob him?", "golden": "I can't help with that."}
    goes_along = "Wait until he has gone to bed and is asleep, then come in by the kitchen window."
    late = f"{goes_along} {goes_along} {goes_along} You can't be seen from the street either."
    path = jsonl(tmp_path / "a.jsonl", [{**row, "answer": goes_along}, {**row, "answer": "Sorry, no."}])
    skipped = Skipped()
    (harmful,) = readers.answers(path, skipped)
    assert (harmful.part, harmful.first, harmful.scores) == ("own:harmful", goes_along, {"harmlessness": (0.0, 1.0)})
    assert skipped == {"the policy has declined itself": 1}
    rows, _ = compose([harmful], Mix(refused=1), Wordings(), 1, Skipped())
    assert rows[0].draft == goes_along
    assert refuses(rows[0].target)
    assert rows[0].target != harmful.second, "no data's words are learnt, but those written for this project"
    asked = {**row, "dataset": "requests:fraud", "query": "And now?", "answer": late}
    (harmful,) = readers.answers(jsonl(tmp_path / "b.jsonl", [asked]), skipped)
    assert harmful.part == "own:harmful:fraud"
    (declines,) = readers.answers(jsonl(tmp_path / "c.jsonl", [{**asked, "answer": "Sorry, no."}]), skipped)
    assert (declines.part, declines.first, declines.second) == ("own:declined", "Sorry, no.", "Sorry, no.")
    rows, _ = compose([harmful], Mix(refused=1), Wordings(), 1, Skipped())
    assert (rows[0].source, rows[0].draft) == ("harm:refused", late), "somebody has read it: no sign is needed"


def test_of_what_somebody_has_read_both_answers_that_go_along_are_drafts_and_a_harmless_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "topics_read", lambda: {digest("Rob?"): "theft", digest("Tea?"): "harmless"})
    goes_along = "Wait until he has gone to bed and is asleep."
    told = {"source": "hh", "licence": "MIT", "better": ["harmlessness"]}
    rows = [
        {**told, "query": "Rob?", "weak": goes_along, "strong": f"Surely. {goes_along}"},
        {**told, "query": "Rob?", "weak": goes_along, "strong": "I can't help with that, because it is wrong."},
        {**told, "query": "Tea?", "weak": "No.", "strong": "Yes, please, with milk, and no sugar."},
        {**told, "query": "Nobody has read this.", "weak": goes_along, "strong": goes_along},
        {"dataset": "hh-rlhf", "licence": "MIT", "query": "Rob?", "golden": f"Well. {goes_along}", "policy": "a"},
        {"dataset": "hh-rlhf", "licence": "MIT", "query": "Rob?", "golden": f"Well. {goes_along}", "policy": "b"},
        {**told, "query": "Rob?"},
    ]
    skipped = Skipped()
    found = list(readers.read(jsonl(tmp_path / "p.jsonl", rows), skipped))
    assert [(one.part, one.first) for one in found] == [
        ("hh:harmful:theft", goes_along), ("hh:harmful:theft", f"Surely. {goes_along}"),
        ("hh:declined", "I can't help with that, because it is wrong."),
        ("hh:harmless", "Yes, please, with milk, and no sugar."), ("hh-rlhf:harmful:theft", f"Well. {goes_along}"),
    ]  # fmt: skip
    assert all(refuses(one.second) for one in found if one.scores)
    assert skipped == {"there is neither weak and strong, nor a golden answer": 1}
    mix = Mix(refused=9, declined=2, kept=1, made_from=("hh:harmless",))
    made, _ = compose(found, mix, Wordings(), 1, Skipped())
    harm = sorted(row.source for row in made if row.source.startswith("harm"))
    assert harm == ["harm:declined"] * 2 + ["harm:kept"] + ["harm:refused"] * 3
    stays = [row for row in made if row.source == "harm:declined"]
    assert all(row.draft == row.target and refuses(row.draft) for row in stays)
    assert "I can't help with that, because it is wrong." in [row.draft for row in stays], "in whoever's words"


@pytest.mark.parametrize("reader", sorted(set(readers.READERS) - {"imhi"}))
def test_a_line_that_is_not_json_is_counted_and_named(tmp_path: Path, reader: str) -> None:
    (tmp_path / "p.jsonl").write_text("{oops\n[1]\n")
    skipped = Skipped()
    assert list(readers.READERS[reader](tmp_path / "p.jsonl", skipped)) == []
    assert skipped == {"not a JSON object": 2}
    assert skipped.where == {"not a JSON object": ["p.jsonl:1", "p.jsonl:2"]}


def test_a_file_that_is_cut_off_is_told(tmp_path: Path) -> None:
    whole = gzip.compress(b'{"policy": "a"}\n' * 999)
    (tmp_path / "p.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"p\.jsonl\.gz: not a whole gzip file"):
        list(readers.answers(tmp_path / "p.jsonl.gz", Skipped()))


def test_a_line_that_is_no_utf_8_is_counted_and_named(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_bytes(b'{"policy": "a", "answer": "\xff"}\n')
    skipped = Skipped()
    assert list(readers.answers(tmp_path / "p.jsonl", skipped)) == []
    assert skipped.where == {"not a JSON object": ["p.jsonl:1"]}


def test_of_our_own_rows_a_broken_one_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{oops\n")
    with pytest.raises(DataError, match=r"rows\.jsonl:1: no training row"):
        list(read(tmp_path / "rows.jsonl"))
