"""What declines, in thirty languages, and what only has such words."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from corrector.declining import WITHIN, declined, declines
from tests.conftest import ROOT
from tests.corrector.scripted import DRAFT

DECLINING = """
I can’t help with that.
I understand that you are angry, and that it hurts. I'm not able to help with it, though.
Dabei kann ich leider nicht helfen.
Je ne peux pas vous aider.
Lo siento, no puedo ayudarte con eso.
Desculpe, não posso ajudar com isso.
Mi dispiace, non posso aiutarti.
Daar kan ik je niet mee helpen.
Przykro mi, nie mogę w tym pomóc.
Üzgünüm, bu konuda yardımcı olamam.
Я не могу с этим помочь.
Вибачте, але я не можу допомогти.
Tôi không thể giúp bạn việc này.
Maaf, saya tidak bisa membantu.
Jag kan inte hjälpa dig med det.
Det kan jeg desværre ikke hjælpe med.
En voi auttaa siinä.
S tím bohužel nemohu pomoci.
Sajnálom, ebben nem tudok segíteni.
Îmi pare rău, nu pot să ajut.
Ho sento, no puc ajudar-te.
Žao mi je, ne mogu pomoći.
Съжалявам, не мога да помогна.
Δεν μπορώ να βοηθήσω.
抱歉，我无法帮助您。
申し訳ありませんが、お手伝いできません。
죄송하지만 도와드릴 수 없습니다.
لا أستطيع المساعدة في ذلك.
क्षमा करें, मैं मदद नहीं कर सकता।
দুঃখিত, আমি সাহায্য করতে পারছি না।
ขออภัย ฉันไม่สามารถช่วยได้
מצטער, אני לא יכול לעזור.
متأسفم، نمی‌توانم کمک کنم.
"""


@pytest.mark.parametrize("text", DECLINING.strip().splitlines())
def test_what_declines_says_so(text: str) -> None:
    assert declines(text)


MORE_OF_IT = """
"I can't help with that."
I understand that you want revenge. However, I will not help you hurt anybody.
I, as an AI assistant, really cannot provide that.
I must respectfully decline.
Unable to assist with that request.
This request cannot be fulfilled.
We're unable to provide that.
The assistant can't help with that.
Sorry, but that is against the law.
The letter "how to break in" is something I won't write.
I understand you're angry, but I need to decline this.
I'm going to have to decline.
We must decline.
We won't tell you how to do that.
I appreciate the question, but cannot tell you how to do this.
I understand your frustration, but won't help you hurt him.
I understand how you feel but am unable to give you these instructions.
Cannot provide that information.
Sorry, this request sounds dangerous, so no.
Je refuse de vous aider.
そのご要望にはお応えできません。
Wir können Ihnen dabei nicht helfen.
Je suis désolé, mais c'est illégal.
抱歉，但这是违法的。
这个问题我不能回答。
無法提供此類資訊。
そのご質問にはお答えできません。
답변을 드릴 수 없습니다.
"""


@pytest.mark.parametrize("text", MORE_OF_IT.strip().splitlines())
def test_by_who_cannot_or_by_what_cannot_be_done(text: str) -> None:
    assert declines(text)


def taught() -> Iterator[str]:
    """All that the corrector that ships is taught to refuse with."""
    told = yaml.safe_load(Path(ROOT / "train/refusals.yaml").read_text(encoding="utf-8"))
    things = [it for topic in told["topics"].values() for it in topic["it"]]
    for topic in told["topics"].values():
        for opening in (*told["openings"], *topic.get("openings", ())):
            yield from (opening.format(it=it) for it in things)


def test_all_that_is_taught_declines() -> None:
    assert [said for said in taught() if not (declines(said) and declines(said.replace("'", "\u2019")))] == []


ANSWERING = """
Can't give enough thanks? A card says more than a present.
Can't answer the door? Leave a note for whoever delivers.
Sorry, that sounds like a rough week. Take it slowly, and sleep.
I tried every key I had but cannot open it: so oil the lock first.
We cannot tell one twin from the other by their voices.
The capital of France is Paris.
No.
Kochen Sie das Wasser.
先把水烧开。
I'm sorry to hear about your loss. Take it slowly. Be gentle with yourself.
I am so sorry. To lose somebody is hard.
I'm sorry, that must be hard.
If Python can't find your document, check its path and whether you may read it.
You can't divide by zero.
The law will not change until May.
I can't recommend this book enough!
I can't wait to hear how it went.
We cannot see atoms with our eyes.
If they refuse to pay, write to them. It is not something that happens often.
You won't be able to comply with both.
You could tell him: "I'm sorry, but I can't lend you that."
Man kann Wasser nicht zerreißen.
Das tut mir leid. Nimm dir Zeit.
Lo siento mucho por tu pérdida.
Tu ne peux pas diviser par zéro.
Bohužel prší. Tyvärr regnar det.
Sajnos a boltok zárva vannak.
Ljudi ne mogu disati pod vodom.
Air tidak bisa mengalir ke atas.
Con người không thể sống thiếu nước.
水太热的话，酵母菌不能存活。
你可以说：“对不起，我不能来。”
油の火は水では消すことができません。
물과 섞을 수 없습니다.
पानी के बिना पेड़ नहीं बढ़ते।
ปลาไม่สามารถหายใจบนบกได้
"""


# Who cannot see, find or come declines nothing, nor does who was wrong before.
UNABLE = """
I can't see your screen, so check that the cable is plugged in and press the power button.
I can't say which of the two is better: it depends on how much you drive, so try both of them.
I won't go into every detail here, but the idea is simple: put one foot before the other.
I'm not going to sugarcoat it: the first month is hard, and it gets better.
I can't decide! Both are great, so take the one that is nearer.
I can't find my keys anywhere. The old house creaked as Mara looked for them.
I can't make it to the meeting on Friday, so please start without me.
I'm unable to attend the meeting on Friday, so please start without me.
Sorry, my earlier sum was wrong: it is 42, as you said.
Lo siento, me equivoqué antes: la capital es Canberra.
抱歉，我之前说错了：澳大利亚的首都是堪培拉。
Desculpe, a resposta certa é Canberra, e não Sydney.
Entschuldigung, ich lag falsch: es sind 42.
I can't really tell whether it is ripe, so press it with a thumb.
I can’t tell from here: look below the lid.
I won't be able to come to the party.
I can't hear you.
I'm sorry, but I made a mistake: it is 42.
Tut mir leid, ich lag falsch: es ist Canberra.
Désolé, je me suis trompé : c'est Canberra.
Mi dispiace, ho sbagliato: è Canberra.
Przepraszam, pomyliłem się: to Canberra.
Извините, я ошибся: это Канберра.
申し訳ありませんが、先ほどは間違えていました。キャンベラです。
죄송하지만 제가 틀렸습니다. 캔버라입니다.
"""
UNWILLING = """
I can't say that.
I can't tell you how to do that.
I can't see myself helping with that.
I can't find a way to help with that.
I can't find you a gun.
I can't find somebody's address.
I can't go along with that.
I can't see how that would be right.
I refuse to say whether it would work.
I won't go into how it is made.
I won't be able to do that.
Sorry, but it would be wrong to do that.
抱歉，这样做是错的。
I won't say which of these poisons is the strongest.
Sorry, I was wrong to begin with that: I can't help you.
"""


@pytest.mark.parametrize("text", UNABLE.strip().splitlines())
def test_who_is_unable_or_was_wrong_declines_nothing(text: str) -> None:
    assert not declines(text)


@pytest.mark.parametrize("text", UNWILLING.strip().splitlines())
def test_in_like_words_it_may_be_declined(text: str) -> None:
    assert declines(text)


@pytest.mark.parametrize("text", ["", DRAFT, *ANSWERING.strip().splitlines()])
def test_what_answers_does_not_decline(text: str) -> None:
    assert not declines(text)


def test_at_the_beginning_if_at_all() -> None:
    assert not declines("x " * (WITHIN // 2) + "I can't help with that.")


def test_of_a_text_what_declines() -> None:
    assert declined("I can't help with that. Of course: boil it. Sorry, no. Then I cannot go on, but wait.") == [
        "I can't help with that.", " Sorry, no.", " Then I cannot go on, but",
    ]  # fmt: skip
    assert declined("You can't boil too much.") == []


def test_a_bare_apology_belongs_to_what_declines_behind_it() -> None:
    assert declined("I’m sorry.\n\n\nI can't. Boil it.") == ["I’m sorry.\nI can't."]
    assert declined("I am so sorry. To lose somebody is hard. I can't help.") == [" I can't help."]


def test_looking_for_it_comes_to_an_end() -> None:
    """Not timed: one whose time grows with the square of the text would not come to an end here."""
    for text in ("\n" * 300_000, "I, " * 20_000, "sorry " * 20_000):
        declined(text)
