"""Words that claims are read by: units, words that deny, opposites, and words that say nothing by themselves. Data alone."""


def words(listed: str) -> frozenset[str]:
    """The words of a text, which are easier to read and to add to than a list."""
    return frozenset(listed.split())


SPELLED = {
    word: str(number)
    for number, listed in enumerate(
        """\
        zero null zéro cero
        one eins un uno
        two zwei deux dos twice
        three drei trois tres
        four vier quatre cuatro
        five fünf cinq cinco
        six sechs seis
        seven sieben sept siete
        eight acht huit ocho
        nine neun neuf nueve
        ten zehn dix diez
        eleven elf onze once
        twelve zwölf douze doce""".splitlines()
    )
    for word in listed.split()
} | {"fourteen": "14", "fifteen": "15", "twenty": "20", "thirty": "30", "sixty": "60", "ninety": "90", "hundred": "100"}
#: Spelled numbers that are articles or other words far more often.
ARTICLES = words("one un uno onze once elf acht sept")

#: Each unit by its names; the first of a row is its own.
UNITS = {
    unit: row.split()[0]
    for row in """\
        day days tag tage tagen jour jours día días
        week weeks woche wochen semaine semaines semana semanas
        month months monat monate monaten mois mes meses
        year years jahr jahre jahren an ans année año años
        hour hours h hr hrs stunde stunden heure heures hora horas
        minute minutes min mins minuten minuto minutos
        second seconds s sec sekunde sekunden
        $ dollar dollars usd
        € euro euros eur
        £ pound pounds gbp
        % percent per-cent prozent
        kg kilo kilos kilogram kilograms
        g gram grams gramm
        km kilometre kilometer kilometres kilometers
        cm
        mm
        kb
        mb
        gb
        tb
        user users
        item items""".splitlines()
    for unit in row.split()
}

NEGATORS = words(
    """
    not no never none nobody nothing neither nor without cannot can't won't don't doesn't didn't isn't aren't wasn't
    weren't shouldn't
    couldn't wouldn't mustn't haven't hasn't hadn't unable impossible dont doesnt cant
    nicht kein keine keinen keinem keiner keines nie niemals ohne weder
    pas jamais aucun aucune sans ni nunca sin ningún ninguna tampoco لا ليس لم لن بدون غير
    """
)

#: A text that says a word of one side does not say the other.
OPPOSITES = tuple(
    (words(row.partition("|")[0]), words(row.partition("|")[2]))
    for row in """\
        before prior vor avant antes | after nach après después
        enable enabled enables | disable disabled disables
        include included includes including | exclude excluded excludes excluding
        increase increases raise | decrease decreases reduce lower
        minimum least mindestens | maximum most höchstens
        more mehr plus más | less fewer weniger moins menos
        always immer toujours siempre | never nie niemals jamais nunca rarely
        required mandatory must compulsory | optional voluntary
        allow allowed allows permitted | forbid forbidden prohibited disallowed
        open opened opens | closed closes close
        activate activated | deactivate deactivated
        accept accepted accepts | reject rejected refuse refused decline declined
        possible | impossible
        free kostenlos gratuit gratis | paid chargeable
        buy purchase | sell
        first | last
        add | remove delete
        available | unavailable
        eligible | ineligible
        online | offline
        up | down
        send sent | receive received
        deposit deposits | withdraw withdrawal withdrawals
        valid | invalid expired
        early earlier | late later
        with | without
        on | off
        lock block | unlock unblock
        domestic | international
        monthly | yearly annual annually
        weekdays | weekends
        public | private
        upgrade | downgrade""".splitlines()
)

COMMON = words(
    """
    a an the and or but if so as at by for from in into of on onto to up with than then that this these those there
    here it its he she
    they them their we our us you your yours i me my mine is are was were be been being am do does did doing has have
    had having will
    would can could may might must shall should also just only very too please which who whom whose what when where how
    why because
    while during about any all each some other more most such own same both via per out over again further once able
    get got let need
    want like make sure yes well however therefore within based following order using use used simply directly
    der die das den dem des ein eine einen einem einer und oder aber wenn als auch an auf aus bei bis für im in ist
    sind war mit nach
    von vor zu zum zur sich sie ihr ihre ihren wir uns ich du es man kann können wird werden haben hat sein
    le la les l un une des du de et ou mais si en dans par pour sur avec est sont vous votre vos nous notre je il elle
    on qui que ce
    el los las una unos y o pero con es son su sus usted se lo al
    """
)
