"""Check digits of numbers that name people and accounts; each function takes digits or letters without separators."""

import string

#: Length of an IBAN by country, ISO 13616 registry (SWIFT, release 99).
IBAN_LENGTHS = {
    **dict.fromkeys(("NO",), 15),
    **dict.fromkeys(("BE",), 16),
    **dict.fromkeys(("DK", "FO", "FI", "GL", "NL", "SD"), 18),
    **dict.fromkeys(("MK", "SI"), 19),
    **dict.fromkeys(("AT", "BA", "EE", "XK", "KZ", "LT", "LU", "MN"), 20),
    **dict.fromkeys(("CR", "HR", "LV", "LI", "CH"), 21),
    **dict.fromkeys(("BH", "BG", "GE", "DE", "IE", "ME", "RS", "GB", "VA"), 22),
    **dict.fromkeys(("GI", "IL", "IQ", "OM", "SO", "TL", "AE"), 23),
    **dict.fromkeys(("AD", "CZ", "MD", "PK", "RO", "SA", "SK", "ES", "SE", "TN", "VG"), 24),
    **dict.fromkeys(("LY", "PT", "ST"), 25),
    **dict.fromkeys(("IS", "TR"), 26),
    **dict.fromkeys(("BI", "DJ", "FR", "GR", "IT", "MC", "MR", "SM"), 27),
    **dict.fromkeys(("AL", "AZ", "BY", "CY", "DO", "SV", "GT", "HU", "LB", "NI", "PL"), 28),
    **dict.fromkeys(("BR", "EG", "PS", "QA", "UA"), 29),
    **dict.fromkeys(("JO", "KW", "MU", "YE"), 30),
    **dict.fromkeys(("MT", "SC"), 31),
    **dict.fromkeys(("LC",), 32),
    **dict.fromkeys(("RU",), 33),
}

#: Control letters of Spain's DNI and NIE, by the number modulo 23.
_SPANISH = "TRWAGMYFPDXBNJZSQVHLCKE"
#: Worth of a character in an odd place of Italy's codice fiscale (decree of 23 December 1976): 0-9, and the same for A-J; K-Z.
_ITALIAN_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
#: Verhoeff's tables: multiplication in the dihedral group of ten elements, and the permutation by place.
_DIHEDRAL: tuple[str, ...] = (
    "0123456789",
    "1234067895",
    "2340178956",
    "3401289567",
    "4012395678",
    "5987604321",
    "6598710432",
    "7659821043",
)
_DIHEDRAL += ("8765932104", "9876543210")
_PERMUTED = ("0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258")


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1: payment cards, Canada's SIN, Sweden's personnummer."""
    doubled = (int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits)))
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def issued(first: str) -> bool:
    """Whether payment cards begin with the digit: 1 is an airline's, 0 and 7 to 9 are no payment network's."""
    return first in "23456"


def card(digits: str) -> bool:
    """A payment card: its first digit is that of a network, and not all digits are alike."""
    return issued(digits[0]) and len(set(digits)) > 1 and luhn(digits)


def iban(text: str) -> bool:
    """ISO 13616, modulo 97."""
    turned = text[4:] + text[:4]
    return len(text) == IBAN_LENGTHS.get(text[:2]) and int("".join(str(int(sign, 36)) for sign in turned)) % 97 == 1


def verhoeff(digits: str) -> bool:
    """India's Aadhaar."""
    check = 0
    for place, digit in enumerate(reversed(digits)):
        check = int(_DIHEDRAL[check][int(_PERMUTED[place % 8][int(digit)])])
    return check == 0 and digits[0] not in "01"


def german_tax(digits: str) -> bool:
    """Steuer-Identifikationsnummer: ISO 7064 MOD 11,10, and among the first ten digits one stands twice or three times."""
    if digits[0] == "0" or len(set(digits[:10])) not in (8, 9):
        return False
    product = 10
    for digit in digits[:10]:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == int(digits[10])


def french_nir(text: str) -> bool:
    """Numéro de sécurité sociale: 97 less the number modulo 97; Corsica's departments 2A and 2B count as 19 and 18."""
    number, key = text[:13].replace("2A", "19").replace("2B", "18"), text[13:]
    return number.isdigit() and 97 - int(number) % 97 == int(key)


def spanish(text: str) -> bool:
    """DNI and NIE."""
    number = text[:-1].translate(str.maketrans("XYZ", "012"))
    return number.isdigit() and _SPANISH[int(number) % 23] == text[-1]


def italian(text: str) -> bool:
    """Codice fiscale."""
    total = 0
    for place, sign in enumerate(text[:15]):
        value = int(sign) if sign.isdigit() else ord(sign) - ord("A")
        total += value if place % 2 else _ITALIAN_ODD[value]
    return string.ascii_uppercase[total % 26] == text[15]


def _weighed(digits: str, weights: tuple[int, ...]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False))


def dutch(digits: str) -> bool:
    """Burgerservicenummer, the test of eleven."""
    return _weighed(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0 and int(digits) > 0


def brazilian(digits: str) -> bool:
    """CPF: two check digits modulo 11."""
    first = _weighed(digits, tuple(range(10, 1, -1))) * 10 % 11 % 10
    second = _weighed(digits, tuple(range(11, 1, -1))) * 10 % 11 % 10
    return len(set(digits)) > 1 and digits[9:] == f"{first}{second}"


def polish(digits: str) -> bool:
    """PESEL, whose month counts the century in twenties."""
    month, day = int(digits[2:4]) % 20, int(digits[4:6])
    return 1 <= month <= 12 and 1 <= day <= 31 and _weighed(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0


def belgian(digits: str) -> bool:
    """Rijksregisternummer: 97 less the number modulo 97, with a 2 before it for who was born from 2000 on."""
    number, key = digits[:9], int(digits[9:])
    return 1 <= int(digits[2:4]) <= 12 and key in (97 - int(number) % 97, 97 - int("2" + number) % 97)


def swiss(digits: str) -> bool:
    """AHV number, which begins with 756 and ends as an EAN-13 does."""
    return _weighed(digits, (1, 3) * 6 + (1,)) % 10 == 0


def swedish(digits: str) -> bool:
    """Personnummer of ten digits."""
    return 1 <= int(digits[2:4]) <= 12 and 1 <= int(digits[4:6]) % 60 <= 31 and luhn(digits)


def chinese(text: str) -> bool:
    """Resident identity number, ISO 7064 MOD 11-2 (GB 11643)."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return text[6:8] in ("18", "19", "20") and "10X98765432"[_weighed(text[:17], weights) % 11] == text[17]
