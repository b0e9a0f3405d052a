"""Does a text decline? By its words, in the languages that correctors mostly write: a sign that likeness cannot give.

What shares nothing with a draft may be any other answer. Only what says, at its beginning, that it will not or cannot
help is taken for a refusal, which may leave out the draft and all that is protected in it.
"""

import re

WITHIN = 160  # characters: some say first that they understand
_WORDS = (
    r"sorry|(?:can|won)['’]?t|cannot|can not|will not|unable|not able|rather not|refuse|decline|not going to"
    r"|not something (?:i|that)|not comfortable|do real harm",
    r"tut mir leid|kann\b.{0,40}\bnicht|nicht helfen",  # German
    r"désolée?|ne peux pas|ne puis",  # French
    r"lo siento|no puedo|no podemos",  # Spanish
    r"desculpe|lamento|não posso",  # Portuguese
    r"mi dispiace|non posso",  # Italian
    r"kan\b.{0,40}\bniet",  # Dutch
    r"przepraszam|przykro mi|nie mogę",  # Polish
    r"üzgünüm|yardımcı olamam",  # Turkish
    r"не могу|не можу|извините|вибачте",  # Russian, Ukrainian
    r"xin lỗi|không thể",  # Vietnamese
    r"maaf|tidak (?:bisa|dapat)",  # Indonesian, Malay
    r"kan (?:inte|ikke)|tyvärr|ledsen|beklager|desværre|dessverre",  # Swedish, Danish, Norwegian
    r"en voi|valitettavasti|pahoittelen",  # Finnish
    r"nemohu|nemůžu|nemôžem|bohužel|bohužiaľ|omlouvám",  # Czech, Slovak
    r"nem tudok|sajnálom|sajnos",  # Hungarian
    r"nu pot|îmi pare rău",  # Romanian
    r"ho sento|no puc",  # Catalan
    r"ne mogu|žao mi je|не мога|съжалявам",  # Croatian, Serbian, Bulgarian
    r"δεν μπορώ|λυπάμαι|συγγνώμη",  # Greek
)
_SCRIPTS = (  # without spaces, or with marks that are no letters: no word has a border there
    "抱歉|对不起|對不起|无法|無法|不能",
    "申し訳|できません|できかねます|ごめん",
    "죄송|수 없|미안",
    "آسف|لا أستطيع|لا يمكنني",
    "क्षमा|माफ़|नहीं कर",
    "দুঃখিত|পারছি না|পারব না",
    "ขอโทษ|ขออภัย|ไม่สามารถ",
    "מצטער|סליחה|לא יכול",
    "متأسف|متاسف|نمی.?توان",
)
_DECLINES = re.compile(rf"\b(?:{'|'.join(_WORDS)})\b|{'|'.join(_SCRIPTS)}", re.IGNORECASE)


def declines(text: str) -> bool:
    """Does it say so within its first characters?"""
    return _DECLINES.search(text.lstrip()[:WITHIN]) is not None
