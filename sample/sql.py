"""SQL expressions for made-up values, as text.

``n`` is the number of a row, and ``chance`` a number below PRIME that follows from it and looks random; the values of
the row follow from both. All arithmetic is with whole numbers, in which PostgreSQL and SQLite agree. Words in braces
are parameters and tables, which ``rows.statements`` fills in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from zlib import crc32

from sample import words

PRIME = 2**31 - 1
SCATTERING = 0x9E3779B9  # odd: multiplying by it permutes the numbers of 32 bits
STRIDE = 1_000_000_007  # a prime above the rows of any table: steps of its length visit all rows

FIRST_MORNING = 1_609_488_000  # 2021-01-01 08:00 UTC, in seconds since 1970
DAYS = 5 * 365
DAY = 12 * 3600  # seconds: nothing happens at night, so only those from 8 to 20 o'clock are counted, as open seconds
SPAN = DAYS * DAY
SMALLEST_CAMPAIGN = 100  # members


class Spelling(NamedTuple):
    """What the databases spell differently; braces hold the operand.

    Attributes:
        numbers: a common table expression with the columns n, from ``first`` to ``last``, and chance.
        moment: the time so many seconds after 1970.
        json: a text as a JSON value.
        digits: a number as 16 hexadecimal digits.
        parameter: a named parameter.
        percent: a percent sign in a statement with parameters.
    """

    numbers: str
    moment: str
    json: str
    digits: str
    parameter: str
    percent: str

    def drawn(self, name: str = "drawn", first: str = "{first}", last: str = "{last}") -> str:
        """Return a common table expression with the columns n and chance."""
        return self.numbers.format(name=name, first=first, last=last, chance=chance_of("n"), next=chance_of("(n + 1)"))

    def time(self, second: str) -> str:
        """Return the time of an open second."""
        return self.moment.format(f"{FIRST_MORNING} + {second} / {DAY} * 86400 + {second} % {DAY}")

    def openphone_id(self, prefix: str, n: str = "n", chance: str = "chance") -> str:
        """Return 32 hexadecimal digits in no order; the first eight are different for each n."""
        first = f"({n} * {SCATTERING} + {{shift}}) % {2**32} * {2**31} + {draw('first digits', PRIME, chance)}"
        second = f"{draw('more digits', PRIME, chance)} * {2**31} + {draw('last digits', PRIME, chance)}"
        return f"'{prefix}' || {self.digits.format(first)} || {self.digits.format(second)}"


def multiplier(purpose: str) -> int:
    """Return the number by which the chance is multiplied for a purpose."""
    return crc32(purpose.encode()) % PRIME


def chance_of(n: str) -> str:
    """Return the chance of a row; the parameter shift differs by the seed."""
    line = f"(({n} * {multiplier('n')} + {{shift}}) % {PRIME})"
    return f"({line} * {line} % {PRIME})"


def draw(purpose: str, faces: int | str, chance: str = "chance") -> str:
    """Return a number from 0 to below ``faces``."""
    return f"({chance} * {multiplier(purpose)} % {PRIME} % {faces})"


def text(value: str) -> str:
    """Return a text as a constant."""
    return "'" + value.replace("'", "''").replace("{", "{{").replace("}", "}}") + "'"


def one_of(purpose: str, values: Sequence[str], chance: str = "chance") -> str:
    """Return one of some texts, each as often as another."""
    cases = " ".join(f"WHEN {place} THEN {text(value)}" for place, value in enumerate(values))
    return f"CASE {draw(purpose, len(values), chance)} {cases} END"


def shared(purpose: str, percentages: Mapping[str, int], chance: str = "chance") -> str:
    """Return one of some texts, each as often as its percentage says."""
    cases, below = [], 0
    for value, percentage in percentages.items():
        below += percentage
        cases.append(f"WHEN {draw(purpose, 100, chance)} < {below} THEN {text(value)}")
    return f"CASE {' '.join(cases)} END"


def when(condition: str, value: str) -> str:
    """Return a value where a condition holds, and NULL elsewhere."""
    return f"CASE WHEN {condition} THEN {value} END"


def happened(activity: str) -> str:
    """Return the open second of an activity. Business grows: the last ones come three times as fast as the first."""
    return f"({activity} * (3 * {{activities}} - {activity}) / {{activities}} * {SPAN - 1} / (2 * {{activities}}))"


def conversation_of(chance: str) -> str:
    """Return the conversation of an activity. A few are very long, most are short."""
    die = draw("conversation", PRIME, chance)
    return f"({die} * {die} / {PRIME} * {{conversations}} / {PRIME} * {STRIDE} % {{conversations}} + 1)"


def contact_of(conversation: str) -> str:
    """Return the contact of a conversation; some contacts have two."""
    return f"(({conversation} - 1) % {{contacts}} + 1)"


def phone_of(contact: str) -> str:
    """Return a telephone number in E.164 that no other contact has.

    All area codes are reserved for a longer numbering plan, so no telephone has the number.
    """
    area, local = f"({contact} + {contact} / 8000000)", f"(({contact} * 7919 + {{shift}}) % 8000000 + 2000000)"
    return f"'+1' || ({area} / 10 % 8 + 2) || '9' || ({area} % 10) || {local}"


def our_number(chance: str = "chance") -> str:
    """Return the telephone number of the company that took part."""
    return f"'+1202555010' || {draw('line', len(words.LINES), chance)}"


def started(campaign: str) -> str:
    """Return the open second in which a campaign began: one after another."""
    return f"({campaign} * {DAYS} / ({{campaigns}} + 1) * {DAY})"


# Zipf's law: every second campaign has more than twice the members of the smallest, every tenth more than ten times.
SIZE = f"({SMALLEST_CAMPAIGN * PRIME} / (CAST(id AS bigint) * {multiplier('size')} % {PRIME} + 1))"
