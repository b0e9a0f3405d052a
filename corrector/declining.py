"""Does a text decline? By its words, in the languages that correctors mostly write: a sign that likeness cannot give.

What shares nothing with a draft may be any other answer. Only what says, at its beginning, that it will not or cannot
help is taken for a refusal, which may leave out the draft and all that is protected in it. That somebody cannot do
something is no refusal, nor is sympathy, nor that one was wrong before: the speaker must be who cannot, or helping what
cannot be done.
"""

import re

WITHIN = 160  # characters: some say first that they understand
LEAD = 60  # characters of a sentence, at most, before what in it declines
# What stands in quotes, but at the beginning, somebody else is to say: "You could tell him: 'I can't lend you that.'"
_QUOTED = re.compile(
    r"(?!\A)(?:\"[^\"\n]*\"?|“[^”\n]*”?|„[^“”\n]*[“”]?|«[^»\n]*»?|「[^」\n]*」?|(?<!\w)'[^'\n]*'(?!\w))"
)
# Between the speaker and what is declined, as in "I, as an assistant, really can't".
_TRULY = (
    r"(?:,? (?:\w+ly|just|also|still|do|must|would|will|(?:am )?going to|(?:have|need|choose) to|have no choice but to"
    r"|for one|as an? [\w ]{2,30}?),?){0,3}"
)
_CANNOT = r"(?:can(?:'t|not| not)|won't|will not|unable to|not able to)"
_HELP = (
    r"help|assist|advise|support|provide|offer|give (?!up)|answer|comply|discuss|share|fulfil|condone|take part"
    r"|tell you|(?:explain|describe) how|do (?:that|this)\b"
)
_IDIOM = (
    r"believe|recommend[^.!?\n]{0,40} enough|wait|imagine|stress|overstate|emphasi[sz]e|thank|help but|lie\b|promise"
    r"|guarantee|remember|sugar-?coat|attend\b(?! to\b)|come (?:to|on|in)\b"
    r"|go into (?:every|all (?:of )?the|(?:too )?much|too many|great) details?"
    r"|make it (?:to|on|there|in time|today|tonight|tomorrow|next|this (?:week|month|year|time))\b"
)
_UNABLE = r"(?:can(?:'t|not| not)|(?:won't|will not) be able|unable|not able)"
# What nobody declines who is unable to do it: "I won't say which" does.
_UNKNOWING = (
    r"say (?:which|whether|if|for (?:sure|certain)|exactly(?! how\b))\b"
    r"|tell (?:from|which|whether|if)\b|hear\b(?! of\b)"
    r"|decide\b|see\b(?! (?:how|why|myself|my way|(?:a|any) (?:way|reason))\b)"
    r"|find\b(?! (?:you|him|her|his|their|them|people|some(?:body|one)|out|where|personal|private|it in"
    r"|(?:a|any) way)\b)"
)
_DECLINING = (
    rf"I(?:'m|'d| am)?{_TRULY} {_UNABLE}\b(?!\W+(?:to )?(?:\w+ly |quite |even )?(?:{_IDIOM}|{_UNKNOWING}))",
    rf"I(?:'m|'d| am)?{_TRULY} (?:(?:won't|will not)(?! be able\b)|not going to|rather not|refuse|decline"
    rf"|(?:not|don't feel|do not feel) comfortable)\b(?!\W+(?:{_IDIOM}))",
    rf"we(?:'re| are)?{_TRULY} (?:refuse\b|decline\b|{_CANNOT} (?:be able to )?(?:{_HELP}))",
    rf"I\b[^.!?\n]{{0,80}} (?:but|and|so) (?:am )?{_CANNOT} (?:be able to )?(?:{_HELP})",  # "I understand, but ..."
    rf"(?<!you )(?<!they )(?<!he ){_CANNOT} (?:be able to )?(?:(?:help|assist)(?: you)? with|comply"
    r"|be (?:fulfil|answer|provid|assist))",
    rf"(?:\A|[.!?\n]\s*){_CANNOT} (?:be able to )?(?:{_HELP}|do it\b)(?![^.!?\n]*\?)",
    r"not something (?:that )?(?:I|we)\b",
    # German and Dutch, where what is negated may stand between.
    r"(?:ich kann|kann ich)\b[^.!?\n]{0,40}\bnicht\b|(?:ich|wir)\b[^.!?\n]{0,60}\bnicht (?:\w+ )?\w*helfen\b",
    r"(?:ik kan|kan ik)\b[^.!?\n]{0,40}\bniet\b|wij? kunnen\b[^.!?\n]{0,40}\bniet (?:\w+ )?helpen\b",
    # Swedish, Danish, Norwegian
    r"(?:j[ae]g (?:\w+ )?kan|kan j[ae]g)\b[^.!?\n]{0,40}\bi(?:nte|kke)\b|vi kan (?:\w+ )?i(?:nte|kke) hj[äæe]lp",
    # French, Spanish, Portuguese, Italian, Catalan, Romanian; "nu pot" is what they cannot as well.
    r"je refuse de\b|je ne (?:peux|puis|saurais|(?:vous|te) aiderai)\b|nous ne pouvons pas (?:vous |t')?aider",
    r"no puedo\b|no podemos (?:ayudar|proporcionar|ofrecer|responder)",
    r"n(?:ão|on) posso\b|no puc\b",
    r"nu (?:te |vă )?pot (?:să )?(?:te |vă |îți )?(?:ajut|răspund|ofer|discut|asist)",
    # Polish, Czech, Slovak; Russian, Ukrainian, Bulgarian; Croatian and Serbian, whose "ne mogu" is theirs as well.
    r"(?:nie mogę|nemohu|nemůžu|nemôžem|не могу|не можу|не мога)\b",
    r"ne mogu (?:\w+ ){0,3}?(?:pomoći|pomagati|odgovoriti|pružiti|savjetovati|savetovati)",
    # Finnish, Hungarian, Turkish, Greek
    r"(?:en voi|nem tudok|(?:yardımcı ol|yardım ed)[ae](?:mam|mem|mıyorum|miyorum)|δεν μπορώ)\b",
    # Vietnamese, Indonesian and Malay
    r"tôi (?:\w+ )?không thể|không thể (?:giúp|hỗ trợ|cung cấp|trả lời)",
    r"(?:saya|kami|aku) (?:\w+ )?tidak (?:bisa|dapat)|tidak (?:bisa|dapat) (?:membantu|memberi|menyedia|menjawab)",
)
_SCRIPTS = (  # without spaces, or with marks that are no letters: no word has a border there
    r"(?<!们)(?<!們)我[^。！？，,\n们們]{0,6}(?:不能|无法|無法|不会|不會|拒绝|拒絕)",  # Chinese
    r"(?:不能|无法|無法|不会|不會)[^。！？，,\n]{0,6}"
    r"(?:[帮幫](?!派)|协助|協助|回答|(?:提供|給|给)(?:您|你|任何|相关|相關|此|这|這|该|該|有关|有關))",
    r"(?:手伝|答え|応え|回答|提供|対応|協力|案内|お力|支援|手助け|お教え|応じ)[^。！？\n]{0,10}"
    r"(?:でき(?:ません|かねます|ない)|(?:いた)?しかねます|られません)",  # Japanese
    r"(?:도와|도움|돕|답변|제공|알려|안내|지원|응할|협조)[^.!?\n]{0,14}수[는가]? 없",  # Korean
    r"لا أستطيع|لا يمكنني|لا يمكننا مساعد",
    r"मैं [^।!?\n]{0,40}नहीं|(?:मदद|सहायता) नहीं कर",
    r"পারছি না|পারব না|পারবো না",
    r"(?:ฉัน|ผม|ดิฉัน).{0,12}ไม่สามารถ|ไม่สามารถ.{0,12}(?:ช่วย|ตอบ|ให้ข้อมูล|ให้คำ)",
    r"אני (?:\w+ )?לא יכול|לא (?:יכול|נוכל|אוכל)\S* (?:לעזור|לסייע)",
    r"نمی.?توانم",
)
# An apology, that goes on: "but", or a comma. Before a full stop, "for" or "that" it is sympathy.
_APOLOGY = (
    r"désolée?|lo siento|desculpe|lamento|mi dispiace|(?<!das )tut mir (?:sehr )?leid|przepraszam|przykro mi|üzgünüm"
    r"|извините|вибачте|съжалявам|xin lỗi|maaf|ledsen|beklager|pahoittelen|omlouvám(?: se)?|sajnálom|îmi pare rău"
    r"|ho sento|žao mi je|λυπάμαι|συγγνώμη|抱歉|对不起|對不起|آسف|क्षमा करें|माफ़ करें|দুঃখিত|מצטערת?|סליחה|مت[أا]سفم"
)
# It is for what the speaker got wrong: an answer follows.
_MENDS = (
    r"(?![^.!?。！？\n]{0,60}?(?:\bI (?:was|am) (?:wrong|mistaken)\b(?! to\b)"
    r"|\bI (?:made|had) an? (?:\w+ )?(?:mistake|error|typo)"
    r"|\bI (?:misread|miscounted|miscalculated|misspoke|mixed up|got (?:it|that|this) wrong)\b|\bmy (?:mistake|bad)\b"
    r"|\bmy (?:earlier|previous|last|first)\b[^.!?\n]{0,40} (?:wrong|incorrect|mistaken|mistake|error|off)\b(?! to\b)"
    r"|\b(?:lag (?:ich )?falsch|mich (?:geirrt|vertan|verrechnet)|je me suis tromp|j'ai fait (?:une )?erreur)"
    r"|\b(?:la bonne réponse|me equivoqu[eé]|me he equivocado|me confundí|la respuesta correcta)"
    r"|\b(?:a resposta (?:certa|correta)|me enganei|errei|mi sono sbagliat|ho sbagliato)"
    r"|\b(?:la risposta (?:giusta|corretta)|pomyliłem|pomyliłam|ошибся|ошиблась|помилив|помилил)"
    r"|[说說弄搞记記算答写寫][错錯]|正确的?答案|正確的?答案|間違(?:って|え(?:て|まし)|いでし)"
    r"|틀렸|잘못 (?:말|답|계산|알)))"
)
_GOES_ON = (
    r"(?=\s*[,;:،，]|\s+(?:aber|mais|pero|mas|ma|men|mutta|ale|ama|но|але|tapi|tetapi|nhưng|dar|però|ali|αλλά|但|אבל|لكن)\b)"
    rf"(?!\W+(?:dass|que|che|że|что|що|hogy|že|at|att|că|ότι)\b){_MENDS}"
)
_SORRY = (
    r"(?:(?:\A|[.!?\n]\s*)(?:\w+\W+){0,2}|(?:I|we)(?:'m| am|'re| are) (?:\w+ )?)"
    rf"sorry(?:[,;:] |,? but\b|,? no\b){_MENDS}"
    r"(?!(?:that|this|it|what|how)(?: \w+)? (?:must\b|sounds? (?:like|so|really|very)\b"
    r"|(?:sounds? )?(?:hard|tough|difficult|painful|terrible|awful|sad)\b))"
)
_SORRY_SCRIPTS = (
    r"(?:申し訳(?:ありません|ございません|ない)?(?:です)?(?:が|けど|、)|ごめん(?:なさい|ね)?(?:が|けど|、)"
    r"|(?:죄송|미안)\S{0,4}(?:지만|만|,)"
    rf"|(?:ขอโทษ|ขออภัย)(?:ด้วย)?(?:ครับ|ค่ะ|คะ)? ?(?:แต่|ฉัน|ผม|ดิฉัน|ไม่)){_MENDS}"
)
_DECLINES = re.compile(
    rf"\b(?:{'|'.join(_DECLINING)}|{_SORRY})|(?:{_APOLOGY}){_GOES_ON}|{_SORRY_SCRIPTS}|{'|'.join(_SCRIPTS)}",
    re.IGNORECASE,
)
_ONLY_SORRY = re.compile(  # a first sentence, before what declines
    r"\s*(?:(?:(?:I|we)(?:'m| am|'re| are) (?:\w+ )?)?sorry|I apologi[sz]e"
    rf"|(?:je suis |es )?(?:{_APOLOGY}))[.!。！]\s*",
    re.IGNORECASE,
)

# What is declined goes to the end of the sentence, or to where that is taken back.
_CLAUSE_END = re.compile(
    r"[.!?:;\n。！？：；…]|,? (?:but|however|though|although|yet|still|nevertheless)\b", re.IGNORECASE
)
_GAP = re.compile(r"(\s)\s{2,}")  # some patterns begin at every line break, and skip white space


def declines(text: str) -> bool:
    """Does it say so within its first characters?"""
    head = text.lstrip()[:WITHIN].replace("\u2019", "'")
    return _DECLINES.search(_QUOTED.sub("", head)) is not None


def squeezed(text: str) -> str:
    """The text without what makes a gap of three and more."""
    return _GAP.sub(r"\1", text)


def declined(text: str) -> list[str]:
    """The clauses of a text that decline, wherever they stand, each from where its sentence begins."""
    text = squeezed(text)
    plain = text.replace("\u2019", "'")
    clauses: list[str] = []
    end = 0
    for match in _DECLINES.finditer(plain):
        if match.start() >= end:
            sentence = max(text.rfind(mark, end, match.start() + 1) for mark in ".!?:;\n。！？") + 1
            start = max(end, sentence, match.start() - LEAD)
            start = 0 if not end and _ONLY_SORRY.fullmatch(plain, 0, start) else start
            closing = _CLAUSE_END.search(text, match.end())
            end = closing.end() if closing else len(text)
            clauses.append(text[start:end])
    return clauses
