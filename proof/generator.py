"""A made-up CRM of any size: the same rows for the same seed, on every database, Python and machine.

    crm = Crm(activities=100_000, seed=1)
    for table in crm.counts:
        for columns in crm.batches(table):
            ...  # {"id": range(1, 10001), "first_name": ["Maria", ...], ...}

Each batch draws from a random stream of its own, so nothing depends on the order in which batches are made. Only
``Random.random`` is used: Python promises its sequence for a seed, and that of no other method.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, timedelta
from functools import cached_property
from itertools import compress
from math import sqrt
from operator import add
from random import Random
from typing import Any, NamedTuple, TypeVar

from indexer.errors import UsageError
from proof import vocabulary as words

Columns = dict[str, Sequence[Any]]
T = TypeVar("T")

MOST = 100_000_000  # activities: their ids fit into four bytes, and what is looked up in memory into some gigabytes
BATCH = 10_000  # rows
SEED = 1

FIRST_DAY = date(2021, 1, 1)
DAYS = 5 * 365
OPENING = 8  # o'clock
DAY = 12 * 3600  # seconds: nothing happens at night, so only the time between opening and closing is counted
SPAN = DAYS * DAY

SMALLEST_CAMPAIGN, LARGEST_CAMPAIGN = 100, 10_000  # members

ODD = 0x9E3779B9  # times an odd number is a permutation of the numbers of 32 bits
HEADS = 4096
CONTENTS = 20_000
STRIDES = (7919, 7907, 7901)
LOCAL_NUMBERS = 8_000_000  # of an area, from 2000000 on


class Content(NamedTuple):
    """What an activity is about: everything but who, where and when. All but the first two are columns."""

    kind: words.Kind
    our_number: str
    activity_type: str
    direction: str
    status: str
    user_id: int
    phone_number_id: str
    body: str | None
    email_subject: str | None
    duration_seconds: int | None
    recording_url: str | None
    ai_summary: str | None


class Draw:
    """The random choices for one batch."""

    def __init__(self, stream: str, rows: int) -> None:
        self._random = Random(stream).random
        self._rows = range(rows)

    def one_of(self, values: Sequence[T]) -> list[T]:
        """A value for each row."""
        random, faces = self._random, len(values)
        return [values[int(random() * faces)] for _ in self._rows]

    def one_of_where(self, flags: Iterable[Any], values: Sequence[T]) -> list[T | None]:
        """A value for each row with its flag up, and None for the others."""
        random, faces = self._random, len(values)
        return [values[int(random() * faces)] if flag else None for flag in flags]

    def one_of_each(self, choices: Iterable[Sequence[T]]) -> list[T]:
        """A value for each row, from a choice of its own with a hundred faces."""
        random = self._random
        return [faces[int(random() * 100)] for faces in choices]

    def below(self, limit: int) -> list[int]:
        """A number for each row, from 0 up to and without the limit."""
        random = self._random
        return [int(random() * limit) for _ in self._rows]

    def some(self, share: float, values: Iterable[T]) -> list[T | None]:
        """The values, but only a share of them."""
        random = self._random
        return [value if random() < share else None for value in values]


class Crm:
    """All rows of the seven tables, in proportion to the activities.

    Args:
        activities: how many.
        seed: another number makes another CRM.

    Attributes:
        counts: how many rows each table has, referenced tables first.

    Raises:
        UsageError: too many.
    """

    def __init__(self, activities: int, seed: int = SEED) -> None:
        if activities > MOST:
            raise UsageError(f"No more than {MOST:,} activities can be made.", "Use fewer: --rows 1000000")
        self.seed = seed
        self.contacts = max(1, activities // 10)
        self.conversations = max(1, activities * 12 // 100)
        self.activities = activities
        self.memberships = activities // 5
        self.events = activities // 4
        self.counts = {
            "contact": self.contacts,
            "conversation": self.conversations,
            "activity": activities,
            "campaign": len(self.campaign_ends),
            "campaign_membership": self.memberships,
            "contact_flag": activities * 15 // 100,
            "webhook_event": self.events,
        }

    @property
    def rows(self) -> int:
        """How many rows there are in all tables."""
        return sum(self.counts.values())

    def batches(self, table: str) -> Iterator[Columns]:
        """The rows of a table in order, some thousand at a time, as columns; columns that stay empty are left out."""
        for first in range(1, self.counts[table] + 1, BATCH):
            ids = range(first, min(first + BATCH, self.counts[table] + 1))
            yield _TABLES[table](self, ids, self._draw(f"{table} {first}", len(ids)))

    def _draw(self, purpose: str, rows: int) -> Draw:
        return Draw(f"{self.seed} {purpose}", rows)

    # What several tables have to agree on --------------------------------------------------------------------------

    @cached_property
    def contents(self) -> list[Content]:
        """A store of contents to choose from: to make one up for each activity would take most of the time."""
        draw = self._draw("contents", CONTENTS)
        kinds = draw.one_of(words.ACTIVITIES)
        statuses = draw.one_of_each(kind.statuses for kind in kinds)
        recorded = [status == "completed" for status in statuses]
        lines = draw.one_of(words.LINES)
        recordings = [f"https://example.com/recordings/{number}" for number in range(CONTENTS)]
        columns = (
            kinds,
            [line.number for line in lines],
            [kind.type for kind in kinds],
            [kind.direction for kind in kinds],
            statuses,
            draw.one_of(range(1, 6)),
            [line.id for line in lines],
            draw.one_of_where([kind.written for kind in kinds], words.BODIES),
            draw.one_of_where([kind.type == "email" for kind in kinds], words.SUBJECTS),
            draw.one_of_where(recorded, range(5, 900)),
            _where(recorded, recordings),
            draw.one_of_where(recorded, words.SUMMARIES),
        )
        return list(map(Content._make, zip(*columns, strict=True)))

    @cached_property
    def content_of(self) -> list[Content]:
        """What each activity is about."""
        return self._draw("content of", self.activities).one_of(self.contents)

    @cached_property
    def conversation_of(self) -> array[int]:
        """The conversation of each activity. A few are very long, most are short: their density is that of a square."""
        random, conversations = Random(f"{self.seed} conversations").random, self.conversations
        scatter = _stride(conversations)
        ranks = (int(random() ** 2 * conversations) for _ in range(self.activities))
        return array("q", [rank * scatter % conversations + 1 for rank in ranks])

    @cached_property
    def last_activity_of(self) -> dict[int, int]:
        """The last activity of each conversation that has any."""
        return dict(zip(self.conversation_of, range(1, self.activities + 1), strict=True))

    @cached_property
    def last_sent_in(self) -> dict[int, int]:
        """The last message that went out in each conversation that has one."""
        return self._last(words.OUTGOING_MESSAGE)

    @cached_property
    def last_received_in(self) -> dict[int, int]:
        """The last message that came in in each conversation that has one."""
        return self._last(words.INCOMING_MESSAGE)

    def _last(self, wanted: words.Kind) -> dict[int, int]:
        flags = [content.kind is wanted for content in self.content_of]
        activities = compress(range(1, self.activities + 1), flags)
        return dict(zip(compress(self.conversation_of, flags), activities, strict=True))

    def contact_of(self, conversation: int) -> int:
        """The contact that a conversation is held with: the one of its number, or for some their second one."""
        return (conversation - 1) % self.contacts + 1

    @cached_property
    def campaign_ends(self) -> list[int]:
        """The last membership of each campaign. Sizes follow Zipf's law, within bounds and the number of contacts."""
        random, largest = Random(f"{self.seed} campaigns").random, min(LARGEST_CAMPAIGN, self.contacts)
        ends = [0]
        while ends[-1] < self.memberships:
            size = min(int(SMALLEST_CAMPAIGN / (1 - random())), largest)
            ends.append(min(ends[-1] + size, self.memberships))
        return ends[1:]

    @cached_property
    def campaign_statuses(self) -> list[str]:
        """How far each campaign has come."""
        return self._draw("campaign statuses", self.counts["campaign"]).one_of(words.CAMPAIGN_STATUSES)

    def started(self, campaign: int) -> int:
        """When a campaign began, in working seconds since the first day: one after the other."""
        return campaign * DAYS // (self.counts["campaign"] + 1) * DAY

    def members(self, memberships: range) -> tuple[list[int], list[int]]:
        """The campaign and the contact of each of these memberships; no contact is in a campaign twice."""
        campaigns: list[int] = []
        contacts: list[int] = []
        step = _stride(self.contacts)
        for campaign in range(bisect_left(self.campaign_ends, memberships.start) + 1, self.counts["campaign"] + 1):
            before, last = self.campaign_ends[campaign - 2] if campaign > 1 else 0, self.campaign_ends[campaign - 1]
            places = range(max(memberships.start, before + 1) - before, min(memberships.stop, last + 1) - before)
            campaigns += [campaign] * len(places)
            contacts += [(campaign * campaign + place * step) % self.contacts + 1 for place in places]
            if last >= memberships.stop - 1:
                break
        return campaigns, contacts

    # Values --------------------------------------------------------------------------------------------------------

    @cached_property
    def phones(self) -> list[str]:
        """The number of each contact by id; nobody has the one at 0."""
        return [self.phone(id) for id in range(self.contacts + 1)]

    def phone(self, contact: int) -> str:
        """The number of a contact in E.164; no other contact has it."""
        area = words.AREA_CODES[(contact + contact // LOCAL_NUMBERS) % len(words.AREA_CODES)]
        return f"+1{area}{2_000_000 + (contact * STRIDES[0] + self.seed) % LOCAL_NUMBERS}"

    def happened(self, activities: Iterable[int]) -> list[int]:
        """When these activities happened, in working seconds since the first day. Business grows."""
        scale = (SPAN - 1) / sqrt(self.activities)
        return [int(scale * sqrt(activity)) for activity in activities]

    def moments(self, seconds: Iterable[int]) -> list[str]:
        """So many working seconds after the first day, as both databases write it."""
        dates, times = self._dates, self._times
        return [f"{dates[second // DAY]} {times[second % DAY]}" for second in seconds]

    def dates(self, seconds: Iterable[int]) -> list[str]:
        """The same without the time of day."""
        return [self._dates[second // DAY] for second in seconds]

    @cached_property
    def _dates(self) -> list[str]:
        return [str(FIRST_DAY + timedelta(days)) for days in range(2 * DAYS)]

    @cached_property
    def _times(self) -> list[str]:
        sixty = [f"{number:02}" for number in range(60)]
        hours = sixty[OPENING : OPENING + DAY // 3600]
        return [f"{hour}:{minute}:{second}" for hour in hours for minute in sixty for second in sixty]

    def openphone_ids(self, prefix: str, numbers: Iterable[int]) -> list[str]:
        """Identifiers as OpenPhone makes them: 32 digits in no order, and none twice."""
        heads, tails = self._heads, self._tails
        return [f"{prefix}{heads[number % HEADS]}{tails[number // HEADS]}" for number in numbers]

    @cached_property
    def _heads(self) -> list[str]:
        """The first eight digits of identifiers that follow one another."""
        return [f"{(place + self.seed) * ODD % 2**32:08x}" for place in range(HEADS)]

    @cached_property
    def _tails(self) -> list[str]:
        """The other digits, which a row of such identifiers shares."""
        random = Random(f"{self.seed} tails").random
        return [f"{round:08x}{int(random() * 2**52):016x}" for round in range(self.activities // HEADS + 1)]


def _stride(length: int) -> int:
    """A step that comes by every place of a ring of this length."""
    return next(stride for stride in STRIDES if length % stride)


def _amount(number: int) -> str:
    """An amount of money for each number. None ends in 0: SQLite would not keep that, and PostgreSQL does."""
    tens, cent = divmod(number, 9)
    return f"{tens // 10}.{tens % 10}{cent + 1}"


def _where(flags: Iterable[Any], values: Iterable[T]) -> list[T | None]:
    """The values where a flag is up, and None elsewhere."""
    return [value if flag else None for flag, value in zip(flags, values, strict=True)]


def _spread(flags: Iterable[Any], values: Iterable[T]) -> list[T | None]:
    """One value after the other where a flag is up, and None elsewhere."""
    following = iter(values)
    return [next(following) if flag else None for flag in flags]


def _either(flags: Iterable[Any], values: Iterable[T], others: Iterable[T]) -> list[T]:
    """The values where a flag is up, and the others elsewhere."""
    return [value if flag else other for flag, value, other in zip(flags, values, others, strict=True)]


# The seven tables ----------------------------------------------------------------------------------------------------


def _contacts(crm: Crm, ids: range, draw: Draw) -> Columns:
    last_names = draw.one_of(words.LAST_NAMES)
    types = draw.one_of(words.CUSTOMER_TYPES)
    buys = [customer_type == "customer" for customer_type in types]
    return {
        "id": ids,
        "first_name": draw.one_of(words.FIRST_NAMES),
        "last_name": last_names,
        "email": draw.some(0.6, [f"{name.lower()}.{id}@example.com" for name, id in zip(last_names, ids, strict=True)]),
        "phone": crm.phones[ids.start : ids.stop],
        "contact_metadata": draw.some(0.2, draw.one_of(words.TAGS)),
        "import_source": draw.one_of(words.IMPORT_SOURCES),
        "imported_at": crm.moments(draw.below(SPAN)),
        "quickbooks_customer_id": _where(buys, [f"QB{id}" for id in ids]),
        "customer_type": types,
        "payment_terms": _where(buys, ["Net 30"] * len(ids)),
        "tax_exempt": [int(number == 0) for number in draw.below(50)],
        "total_sales": _where(buys, map(_amount, draw.below(3_600_000))),
        "lead_source": draw.some(0.8, draw.one_of(words.LEAD_SOURCES)),
        "customer_since": _where(buys, crm.dates(draw.below(SPAN))),
    }


def _conversations(crm: Crm, ids: range, draw: Draw) -> Columns:
    contacts = [crm.contact_of(id) for id in ids]
    lines = draw.one_of(words.LINES)
    pairs = zip(contacts, lines, strict=True)
    lasts = [crm.last_activity_of.get(id, 0) for id in ids]
    return {
        "id": ids,
        "openphone_id": crm.openphone_ids("CN", ids),
        "contact_id": contacts,
        "name": draw.some(0.1, [f"Roof repair {id}" for id in ids]),
        "participants": [f"{crm.phones[contact]},{line.number}" for contact, line in pairs],
        "phone_number_id": [line.id for line in lines],
        "last_activity_at": _where(lasts, crm.moments(crm.happened(lasts))),
        "last_activity_type": _where(lasts, [crm.content_of[last - 1].activity_type for last in lasts]),
        "last_activity_id": _where(lasts, crm.openphone_ids("AC", lasts)),
    }


def _activities(crm: Crm, ids: range, draw: Draw) -> Columns:
    contents = zip(*crm.content_of[ids.start - 1 : ids.stop - 1], strict=True)
    about: Columns = dict(zip(Content._fields, contents, strict=True))
    ours, durations = about["our_number"], about["duration_seconds"]
    conversations = crm.conversation_of[ids.start - 1 : ids.stop - 1].tolist()
    contacts = [(conversation - 1) % crm.contacts + 1 for conversation in conversations]
    theirs = [crm.phones[contact] for contact in contacts]
    incoming = [direction == "incoming" for direction in about["direction"]]
    happened = crm.happened(ids)
    ends = crm.moments(second + duration for second, duration in zip(happened, durations, strict=True) if duration)
    return {
        "id": ids,
        "openphone_id": crm.openphone_ids("AC", ids),
        "conversation_id": conversations,
        "contact_id": contacts,
        "from_number": _either(incoming, theirs, ours),
        "to_numbers": [f'["{number}"]' for number in _either(incoming, ours, theirs)],
        **{column: about[column] for column in Content._fields[2:]},
        "completed_at": _spread(durations, ends),
        "created_at": crm.moments(happened),
    }


def _campaigns(crm: Crm, ids: range, draw: Draw) -> Columns:
    types = draw.one_of(words.CAMPAIGN_TYPES)
    split = [type == "ab_test" for type in types]
    return {
        "id": ids,
        "name": [f"{topic} {id}" for topic, id in zip(draw.one_of(words.CAMPAIGN_TOPICS), ids, strict=True)],
        "created_at": crm.moments(map(crm.started, ids)),
        "status": crm.campaign_statuses[ids.start - 1 : ids.stop - 1],
        "template_a": [words.TEMPLATE] * len(ids),
        "template_b": _where(split, [words.TEMPLATE_B] * len(ids)),
        "quiet_hours_start": ["20:00:00"] * len(ids),
        "quiet_hours_end": ["09:00:00"] * len(ids),
        "campaign_type": types,
        "audience_type": draw.one_of(words.AUDIENCES),
        "daily_limit": [125] * len(ids),
        "business_hours_only": draw.below(2),
        "ab_config": _where(split, ['{"split": 50}'] * len(ids)),
        "channel": ["sms"] * len(ids),
        "days_between_contacts": [30] * len(ids),
    }


def _memberships(crm: Crm, ids: range, draw: Draw) -> Columns:
    campaigns, contacts = crm.members(ids)
    progress = [words.MEMBER_STATUSES[status] for status in crm.campaign_statuses]
    statuses = draw.one_of_each(progress[campaign - 1] for campaign in campaigns)
    sent = [status in words.SENT for status in statuses]
    replied = [status in words.SENTIMENTS for status in statuses]
    starts = list(map(crm.started, range(crm.counts["campaign"] + 1)))
    sent_at = map(add, map(starts.__getitem__, campaigns), draw.below(20 * DAY))
    return {
        "id": ids,
        "contact_id": contacts,
        "campaign_id": campaigns,
        "status": statuses,
        "variant_sent": draw.one_of_where(sent, "AB"),
        "sent_at": _where(sent, crm.moments(sent_at)),
        # A contact's first conversation has the contact's number.
        "sent_activity_id": _where(sent, map(crm.last_sent_in.get, contacts)),
        "reply_activity_id": _where(replied, map(crm.last_received_in.get, contacts)),
        "pre_send_flags": draw.some(0.08, ['{"recently_texted": true}'] * len(ids)),
        "response_sentiment": [words.SENTIMENTS.get(status) for status in statuses],
        "message_sent": draw.one_of_where(sent, words.MESSAGES),
        "script_adapted": [int(number == 0) for number in draw.below(10)],
    }


def _flags(crm: Crm, ids: range, draw: Draw) -> Columns:
    types = draw.one_of(words.FLAG_TYPES)
    passing = [type == "recently_texted" for type in types]
    created = draw.below(SPAN)
    return {
        "id": ids,
        "contact_id": [1 + number for number in draw.below(crm.contacts)],
        "flag_type": types,
        "flag_reason": [words.FLAG_REASONS[type] for type in types],
        "applies_to": draw.one_of(words.APPLIES_TO),
        "created_at": crm.moments(created),
        "expires_at": _where(passing, crm.moments(second + 30 * DAY for second in created)),
        "created_by": draw.one_of(words.FLAGGED_BY),
    }


def _events(crm: Crm, ids: range, draw: Draw) -> Columns:
    # Old events have been deleted: what is left tells of the latest activities.
    activities = range(crm.activities - crm.events + ids.start, crm.activities - crm.events + ids.stop)
    contents = crm.content_of[activities.start - 1 : activities.stop - 1]
    types, lines = [content.kind.event for content in contents], [content.phone_number_id for content in contents]
    created = crm.moments(crm.happened(activities))
    told = zip(types, created, crm.openphone_ids("AC", activities), lines, strict=True)
    processed = [int(number > 0) for number in draw.below(100)]
    return {
        "id": ids,
        "event_id": crm.openphone_ids("EV", ids),
        "event_type": types,
        "api_version": ["v3"] * len(ids),
        "payload": [words.PAYLOAD % each for each in told],
        "processed": processed,
        "processed_at": _where(processed, crm.moments(second + 2 for second in crm.happened(activities))),
        "error_message": draw.some(0.1, [None if done else "Timed out" for done in processed]),
        "created_at": created,
    }


_TABLES: dict[str, Callable[[Crm, range, Draw], Columns]] = {
    "contact": _contacts,
    "conversation": _conversations,
    "activity": _activities,
    "campaign": _campaigns,
    "campaign_membership": _memberships,
    "contact_flag": _flags,
    "webhook_event": _events,
}
