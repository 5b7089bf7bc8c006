"""Words by which a person asks for a human being, or for the bot to stop: the one place that knows them. Pure.

`connectors.wishes` acts on whole messages at the door; `engine.dialogue` finds the same wish inside a longer message.
"""

import re

STOP = re.compile(r"\W*(/stop|stop|cancel that|never ?mind)\W*", re.IGNORECASE)

#: The whole message, so that a question about people is none.
_PERSON = re.compile(
    r"\W*(/human|((i|we) (want|need|would like|wish)|i'd like|can i|could i|may i|let me|please)?\s*"
    r"(to )?((talk|speak|chat)( to| with)|get|connect me( to| with)|transfer me to)?\s*"
    r"((a|an|the|some)\s)?(real |live |actual )?"
    r"(human( being)?|person|agent|representative|someone real|operator))(\s*,?\s*please)?\W*",
    re.IGNORECASE,
)
#: The same in other languages: (I want to | can I)? (talk to)? (a) person (please)?
_PERSONS = tuple(
    re.compile(rf"\W*{pattern}\W*", re.IGNORECASE)
    for pattern in (
        r"((ich|wir) (möchten?|will|wollen|würden? gern(e)?|muss) (bitte )?|kann ich |könnte ich |bitte )?(mit )?"
        r"((einem|einen|einer|dem|ein) )?(echten |richtigen |realen )?(mensch(en)?|mitarbeiter(in)?|berater(in)?"
        r"|person|kundenberater)"
        r"( (sprechen|reden|schreiben|verbinden|verbunden werden))?(,? bitte)?",
        r"((je (veux|voudrais|souhaite)|j'aimerais|puis-je|est-ce que je peux) )?((parler|discuter) (à|avec) )?"
        r"((un|une|quelqu'un) ?)?(vraie? )?(humain|personne|conseillère?|conseiller|agent|être humain|opérateur)"
        r"( humaine?| réelle?)?(,? s'il (vous|te) plaît)?",
        r"((quiero|quisiera|necesito|me gustaría|puedo|podría) )?(hablar con )?((un|una|el|la) )?"
        r"(humano|persona|agente|representante|operador|asesor)( humano| humana| real)?(,? por favor)?",
        r"(我(想|要|需要)|请|請|可以|能)?(帮我|幫我)?(转|轉|找|接|联系|聯繫|和|跟)?(真人|人工)(客服|服务|服務)?(说话|說話|聊|谈"
        r"|談)?(吗|嗎|吧)?",
        r"((أريد|اريد|أود|أرغب في|هل يمكنني|من فضلك) )?((أن )?(أتحدث|اتحدث|التحدث|أتكلم|التكلم) (مع|إلى) )?"
        r"(شخص( حقيقي)?|إنسان|موظف( حقيقي)?|ممثل( خدمة العملاء)?)( من فضلك)?",
    )
)
#: Inside a longer message: only where the wish is said in full, by somebody about themselves.
_WITHIN = re.compile(
    r"\b(i|we)( just| really)?( want|'d like| would like| need| wish|'d rather| would rather| prefer)( to)? "
    r"(talk|speak|chat|be connected|be transferred|be put through)( to| with)? "
    r"(a |an |some |another |your )?(real |live |actual |human )?(human( being)?|person|agent|representative"
    r"|operator|someone real"
    r"|somebody real|someone human)\b"
    r"|\b(let me|can i|could i|may i)( please)? (talk|speak|chat)( to| with) "
    r"(a |an |some )?(real |live |actual |human )?(human( being)?|person|agent|representative|operator|someone real)\b"
    r"|\b(connect|transfer|put) me (to|with|through to) (a |an |your )?(real |live |actual |human )?"
    r"(human( being)?|person|agent|representative|operator)\b"
    r"|\b(give|get) me (a |an )?(real |live |actual )?(human( being)?|person|agent|representative)\b"
    r"|\bmit (einem|einer) (echten |richtigen )?(mensch(en)?|mitarbeiter(in)?|berater(in)?) (sprechen|reden"
    r"|verbinden|verbunden)\b"
    r"|\bparler (à|avec) (un |une )?(vraie? )?(humain|personne|conseillère?|conseiller)\b"
    r"|\bhablar con (un |una )?(humano|persona|agente)( real| humano)?\b"
    r"|(转|轉|找|接)(真人|人工)|人工客服"
    r"|(أتحدث|اتحدث|التحدث) (مع|إلى) (شخص|إنسان|موظف)",
    re.IGNORECASE,
)
#: Characters in which a wish is looked for: more is a letter, and people put what they want at either end.
_LOOKED_AT = 2_000
#: Characters of a message that asks for nothing else: the longest wish has a hundred, and marks around it.
_LONGEST = 300


def person(text: str) -> bool:
    """Whether the whole message asks for a human being."""
    return _whole(_plain(text))


def person_within(text: str) -> bool:
    """Whether a message asks for a human being anywhere in it."""
    plain = _plain(text)
    return _whole(plain) or bool(_WITHIN.search(plain))


def _plain(text: str) -> str:
    """Both ends of a text with one space for each run: the patterns take time in proportion to the runs' cubes."""
    ends = text if len(text) <= _LOOKED_AT else f"{text[: _LOOKED_AT // 2]}\n{text[-_LOOKED_AT // 2 :]}"
    return " ".join(ends.split())


def _whole(plain: str) -> bool:
    if len(plain) > _LONGEST:
        return False
    return bool(_PERSON.fullmatch(plain)) or any(pattern.fullmatch(plain) for pattern in _PERSONS)
