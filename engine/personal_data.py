"""The table of what is taken for personal data, by kind. The one place to add a kind, a country or a form.

Patterns see a text as `engine.redaction` folds it: digits and dashes are those of ASCII, spaces are blanks, invisible signs are
gone. Every repetition is bounded or possessive, so that a text takes time in proportion to its length. Earlier rows win where two
overlap.
"""

import re

from engine import checksums
from engine.recognisers import Recogniser, between, cards, code, either, iban, ip, national, phone, row, street

#: What may stand between the digits of a number as people write it, and between those of a telephone's.
_S, _P = r"[ .\-]{0,2}", r"[ .\-/()]{0,3}"
#: A letter, and a word that begins with one.
_L = r"[^\W\d_]"
_WORD = _L + r"[\w'.-]{0,30}+"

#: What has a number, and the words that say that its number follows.
_THINGS = either(
    "order ticket case account acct invoice booking reservation tracking reference ref customer client policy parcel package"
    " shipment transaction payment contract serial imei confirmation member(?:ship)? claim return rma voucher request user meter"
    " vin passport licen[cs]e bestell(?:ung|nummer|nr)? auftrag(?:s(?:nummer|nr))? kunden(?:nummer|nr) rechnung(?:s(?:nummer|nr))?"
    " sendung(?:s(?:nummer|nr))? konto(?:nummer|nr)? commande facture pedido factura cuenta ordine fattura"
)
_TELLS = either(r"numbers? num no\.? nr\.? n[°º] id code ref nummer num[eé]ro n[uú]mero numero")
_WAYS = either(
    "street st avenue ave road rd boulevard blvd lane ln drive dr court ct terrace parkway pkwy highway hwy crescent close gardens"
)
_CALLS = either(
    "phone telephone tel mobile cell whatsapp fax call text ring reach sms handy telefon(?:nummer)? t[ée]l[ée]phone m[óo]vil"
)
#: What is counted is no identifier.
_UNITS = either(
    "eur usd gbp chf jpy euros? dollars? pounds? yen yuan rupees? inr points? miles km steps people users"
    " customers rows items requests"
)
#: Standards and models by which many people ask: no identifiers, though they look so.
_STANDARDS = either("iso iec rfc utf sha covid din en usb mp gpt psd win windows ios android php http tls ssl gdpr")
_SECRETS = either(r"password passcode passphrase pin cvv2? cvc otp secret passwort kennwort contraseña")
#: What is said of a password or a name that is not told.
_NOT_TOLD = either(
    "not wrong incorrect incorrectly invalid expired blocked locked too no never being always still the a lost working"
    " required needed correct safe weak forgotten reset set in on spelled spelt missing misspelled misspelt"
    " different displayed showing shown"
)
_INTRODUCTIONS = (
    r"(?:my (?:full |last |first )?name is|my name's|i am called|mein name ist|ich hei(?:ß|ss)e|je m'appelle|mon nom est"
)
_INTRODUCTIONS += r"|me llamo|mi nombre es|mi chiamo|meu nome é|mijn naam is|ik heet)"

#: What is no personal data, and what numbers inside it are not.
DATE = re.compile(
    r"(?<!\d)(?:(?:19|20)\d\d[-/. ](?:0?[1-9]|1[0-2])[-/. ](?:0?[1-9]|[12]\d|3[01])"
    r"|(?:0?[1-9]|[12]\d|3[01])[-/. ](?:0?[1-9]|[12]\d|3[01])[-/. ](?:19|20)\d\d)(?:[ T,]{1,2}\d{1,2}:\d\d(?::\d\d)?)?(?!\d)"
)

_MAIL = (
    row("email", r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}+@[\w-]{1,63}+(?:\.[\w-]{1,63}+){1,8}", needs="@"),
    row(
        "email",
        r"(?<![\w.+-])[\w.+-]{1,64}+ ?(?:[\[({] ?at ?[\])}]|\bat\b) ?[\w-]{1,63}+ ?(?:[\[({] ?dot ?[\])}]|\bdot\b) ?",
        r"[a-z]{2,24}+\b",
    ),
)

_MONEY = (
    row("card", r"(?<!\w)\d(?:[ .\-/]{0,2}\d){12,}+(?!\w)", spans=cards, digits=13),
    row("iban", r"(?<!\w)[A-Z]{2}\d{2}(?:[ \-]?[A-Z0-9]){11,30}", spans=iban, digits=10),
)

_MACHINES = (
    row("identifier", r"(?<!\w)[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?!\w)", digits=1),
    row("ip", r"(?<![\w.])(?<!version )(?<!v)\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)", spans=ip, needs=".", digits=4),
    row("ip", r"(?<![\w:.])(?=[0-9a-f]{0,4}:)[0-9a-f:]{2,45}(?:(?:\.\d{1,3}){3})?(?![\w:])", spans=ip, needs=":"),
)

#: US, GB, FR, DE, ES, IT, NL, BR, PL, BE, CH, SE, IN, CA, CN.
_PEOPLE = (
    national(r"(?!000|666|9)\d{3}[- ](?!00)\d{2}[- ](?!0000)\d{4}", 9),
    national(r"(?:ssn|social security)(?: (?:number|no\.?))?(?: is)?[: ]{1,2}(?P<it>\d{3}" + _S + r"\d{2}" + _S + r"\d{4})", 9),
    national(r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]", 6),
    national(_S.join((r"[12]", r"\d{2}", r"\d{2}", r"(?:\d{2}|2[AB])", r"\d{3}", r"\d{3}", r"\d{2}")), 12, checksums.french_nir),
    national(r"\d{2} ?\d{3} ?\d{3} ?\d{3}", 11, checksums.german_tax),
    national(r"(?:\d{2}[. ]?\d{3}[. ]?\d{3}|[XYZ][- ]?\d{7})[- ]?[A-Z]", 7, checksums.spanish),
    national(r"[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]", 7, checksums.italian),
    national(r"(?:bsn|burgerservicenummer)[: ]{1,2}(?P<it>\d{9})", 9, checksums.dutch),
    national(r"\d{3}[. ]\d{3}[. ]\d{3}[- ]\d{2}", 11, checksums.brazilian),
    national(r"cpf[: ]{1,2}(?P<it>\d{11})", 11, checksums.brazilian),
    national(r"\d{11}", 11, checksums.polish),
    national(r"\d{2}[. ]?\d{2}[. ]?\d{2}[- ]?\d{3}[. ]?\d{2}", 11, checksums.belgian),
    national(r"756[. ]?\d{4}[. ]?\d{4}[. ]?\d{2}", 13, checksums.swiss),
    national(r"\d{6}[-+]\d{4}", 10, checksums.swedish),
    national(r"\d{4}[ -]?\d{4}[ -]?\d{4}", 12, checksums.verhoeff),
    national(r"\d{3}[ -]\d{3}[ -]\d{3}", 9, checksums.luhn),
    national(r"\d{17}[\dX]", 17, checksums.chinese),
)

_TOLD = (
    row("secret", rf"\b{_SECRETS}(?: code| word)?(?: is| ist|:| =|=){{1,3}} ?(?P<it>(?!{_NOT_TOLD}\b)[^\s\[\]?]{{3,64}}+)(?!\?)"),
    row(
        "identifier",
        rf"\b{_THINGS}s?(?P<told>(?:[ :#-]{{0,2}}{_TELLS}(?!\w))?(?: is\b)?[ :]{{0,2}}#[ ]?",
        rf"|(?:[ :#-]{{0,2}}{_TELLS}(?!\w))(?: is\b| ist\b|:){{0,2}})?",
        r"[ :]{0,3}(?P<it>[A-Z0-9](?:[A-Z0-9]|[-/_.](?=[A-Z0-9])){1,40})(?![\w%])",
        spans=code,
        digits=1,
        not_dates=True,
    ),
)

_PHONES = (
    row("phone", rf"(?<![\w+])\+ ?[1-9](?:{_P}\d){{6,14}}(?!\d)", spans=between(8, 15), needs="+", digits=8),
    row("phone", rf"(?<![\w#-])00[1-9](?:{_P}\d){{7,13}}(?!\w)", digits=10, not_dates=True),
    row(
        "phone",
        r"(?<![\w#-])(?:1[-. ])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[-. ])\d{3}[-. ]\d{4}(?!\w)",
        digits=10,
        not_dates=True,
    ),
    row(
        "phone",
        r"(?<![\w#.,/-])(?:\(0[1-9]\d{0,4}\)|0[1-9])(?:[ .\-/()]{0,2}\d){5,11}(?!\w)",
        spans=phone,
        digits=9,
        not_dates=True,
    ),
    row(
        "phone",
        rf"\b{_CALLS}\b[^\d\n]{{0,24}}?(?P<it>\(?\d(?:[ .\-/()]{{0,2}}\d){{6,14}})(?!\w)",
        spans=between(7, 15),
        digits=7,
        not_dates=True,
    ),
)

_PLACES = (
    row("address", rf"(?<![\w$€£#.,-])\d{{1,6}}[a-z]?,? (?P<street>(?:{_WORD} ){{1,3}}?){_WAYS}\b", spans=street, digits=1),
    row(
        "address",
        rf"(?<![\w-]){_L}{{0,30}}?(?: ?straße| ?strasse|str\.|weg|platz|allee|gasse|damm|ufer) \d{{1,4}} ?[a-z]?\b",
        rf"(?:,? \d{{5}} {_L}{{2,30}}+)?",
        digits=1,
    ),
    row(
        "address",
        r"(?<![\w-])\d{1,4}(?: ?bis| ?ter)?,? (?:rue|avenue|boulevard|place|chemin|all[ée]e|impasse|quai|cours) ",
        rf"(?:d[eu]s? |l[ae] |l'){{0,3}}{_L}[\w'-]{{1,30}}",
        digits=1,
    ),
    row(
        "address",
        rf"\b(?:calle|avenida|avda\.?|plaza|paseo|via|viale|piazza|corso|rua) (?:{_WORD},? ){{1,4}}?(?:n[.º°]? ?)?\d{{1,4}}\b",
        digits=1,
    ),
    row("address", r"\bp\.? ?o\.? ?box \d{1,8}\b", digits=1),
    row("address", r"\b[A-Z]{1,2}\d[A-Z\d]? \d(?!st\b|nd\b|rd\b|th\b)[ABD-HJLNP-UW-Z]{2}\b", digits=2),
    row("address", r"\b(?-i:[A-Z]{2}),? \d{5}(?:-\d{4})?(?!\w)", digits=5),
)

_BIRTHS = (
    row(
        "birth",
        r"\b(?:born(?: on)?|d\.?o\.?b\.?|date of birth|birthday|geboren am|geburtsdatum|n[ée]e? le)(?: is)?[: ]{1,3}",
        r"(?P<it>[\w.,/-]{1,12}(?: [\w.,]{1,12}){0,2} ?\d{2,4})\b",
        digits=2,
    ),
)

#: Identifiers that no word introduces, by their look.
_CODES = (
    row("identifier", r"#[ ]?(?=[A-Z-]{0,20}+\d)[A-Z0-9][A-Z0-9-]{2,40}(?!\w)", needs="#", digits=1, not_dates=True),
    row(
        "identifier",
        rf"(?<![\w-])(?!{_STANDARDS}-)[A-Z]{{1,6}}-(?:[A-Z0-9]{{1,12}}-){{0,4}}(?=[A-Z0-9]{{0,12}}\d)[A-Z0-9]{{3,20}}(?![\w-])",
        digits=3,
        not_dates=True,
    ),
    row("identifier", r"(?<![\w.-])(?=(?:[A-Z]{0,40}+\d){3})(?=\d{0,40}+[A-Z])[A-Z0-9]{8,40}(?![\w-])", digits=3),
    row("identifier", rf"(?<![\w$€£¥.,#-])\d{{6,40}}(?![\w%]|[.,]\d| ?{_UNITS}\b| ?[€$£¥])", digits=6, not_dates=True),
)

_NAMES = (
    row(
        "name",
        rf"\b{_INTRODUCTIONS}[: ]{{1,2}}(?!{_NOT_TOLD}\b)(?P<it>{_L}[^\W\d_'.-]{{0,30}}+(?:['.-]{_L}{{1,30}}+){{0,2}}",
        rf"(?: (?-i:[A-ZÀ-ÖØ-Þ])[^\W\d_'-]{{0,30}}+(?:['-]{_L}{{1,30}}+)?){{0,3}})",
    ),
)

TABLE: tuple[Recogniser, ...] = (
    *_MAIL,
    *_MONEY,
    *_MACHINES,
    *_PEOPLE,
    *_TOLD,
    *_PHONES,
    *_PLACES,
    *_BIRTHS,
    *_CODES,
    *_NAMES,
)
