"""The judge that counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.train.test_judges import ask
from train import judges

LONG = (
    "Water should be boiled in a kettle first. Then warm the teapot with a little of the water. "
    "Afterwards put one spoon of leaves into the teapot for every cup, as has been said, and let it stand."
)
SHORT = (
    "Boiled water from a kettle should first warm the teapot. Then put one spoon of leaves for every cup; let it stand."
)


class TestMeasure:
    async def says(self, first: str, second: str, objective: str, query: str = "Tea?") -> int | None:
        kind = judges.load("measure")
        judge = kind.build(kind.Options.model_validate({"kind": "measure"}))
        assert judge.decides(objective)
        assert not judge.decides("humour")
        return await judge.compare(ask(first, second, objective, query))

    async def test_shorter_words_and_sentences_are_easier(self) -> None:
        hard = (
            "Notwithstanding considerable institutional impediments, preparation necessitates meticulous deliberation."
        )
        assert await self.says(hard, "Boil the water. Wait a bit. Then pour it.", "readability") == 1
        assert await self.says(hard, "", "readability") is None

    async def test_the_shorter_version_wins_but_not_what_lost_most_of_it(self) -> None:
        assert await self.says(LONG, SHORT, "length") == 1
        assert await self.says(SHORT, LONG, "length") == -1
        assert await self.says(LONG, "Boil water.", "length") is None
        assert await self.says(LONG, "", "length") is None
        assert await self.says(LONG, LONG, "length") == 0

    async def test_saying_it_twice_loses(self) -> None:
        assert await self.says(f"{SHORT} {SHORT}", SHORT, "repetition") == 1
        assert await self.says(SHORT, "and so on " * 40, "repetition") == -1
        assert await self.says(SHORT, LONG, "repetition") == 0

    async def test_what_is_protected_must_not_be_lost(self) -> None:
        draft = "Run `make tea` as https://example.org/tea says."
        assert await self.says(draft, "Run it as the page says.", "protected") == -1
        assert await self.says(draft, f"Please: {draft}", "protected") == 0

    @pytest.mark.parametrize(
        ("query", "met", "missed"),
        [
            ("Explain tea in one sentence.", "Tea is leaves in hot water.", "Tea is leaves. They stand in water."),
            ("Explain tea in at most 5 words.", "Leaves in hot water.", "Tea is a drink of leaves and water."),
            ("Explain it using at least 2 paragraphs.", "Tea.\n\nIt is hot.", "Tea. It is hot."),
            ("Give me three tips for tea.", "1. Boil\n2. Pour\n3. Wait", "Boil, pour and wait."),
            ("A list of 2 ideas, please", "- Green\n- Black", "- Green\n- Black\n- White"),
            ("Answer in three bullet points", "* a\n* b\n* c", "* a\n* b"),
            ("Say what tea is, in JSON", '```json\n{"tea": "leaves"}\n```', "tea: leaves"),
            ("Write in all caps what tea is", "IT IS LEAVES.", "It is leaves."),
            ("Write in lowercase what tea is", "it is leaves.", "It is leaves."),
        ],
    )
    async def test_what_the_query_asks_for_is_counted(self, query: str, met: str, missed: str) -> None:
        assert await self.says(missed, met, "instruction_following", query) == 1
        assert await self.says(met, missed, "instruction_following", query) == -1
        assert await self.says(missed, met, "instruction_following", "What is tea?") is None

    @given(st.text(max_size=200), st.text(max_size=200), st.sampled_from(["readability", "length", "repetition"]))
    def test_turned_round_the_verdict_turns(self, first: str, second: str, objective: str) -> None:
        from train.judges.measure import MEASURES

        measure = MEASURES[objective]
        said, turned = measure(ask(first, second, objective)), measure(ask(second, first, objective))
        assert turned == (None if said is None else -said)
