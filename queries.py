"""The questions that the ten indexes exist for: the functions that applications call, and arguments for them.

Bind the models before asking or sampling:

    with database.bind_ctx(models.TABLES):
        for probe in PROBES:
            for arguments in probe.sample(10):
                probe.ask(*arguments)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from peewee import Field, ValueLiterals, fn

import models
from models import Activity, CampaignMembership, Contact, ContactFlag, Conversation, WebhookEvent

Arguments = tuple[Any, ...]

AUDIENCE = 1_000  # contacts that a campaign asks about at once
AUDIENCES = 10
GOLDEN_RATIO = (1 + 5**0.5) / 2
SPARE = 4  # rows looked at for each that is wanted: values can be missing, or the same


@dataclass(frozen=True)
class Probe:
    """A question that an index has to serve.

    Attributes:
        index: the name of the index.
        claim: what the revision claims of it, for people.
        query: the call, for people.
        ask: the function that applications call; it reads all rows of the answer.
        sample: up to so many different arguments for ``ask``, from rows that are there or, if there are none,
            plausible ones. Reads by primary key alone, so it is cheap on a table of any size.
        as_parameter: the same question from an application that makes a parameter of what stands literally in the
            statement, if something does.
        also_reads: tables besides that of the index.
    """

    index: str
    claim: str
    query: str
    ask: Callable[..., Any]
    sample: Callable[[int], list[Arguments]]
    as_parameter: Callable[..., Any] | None = None
    also_reads: tuple[str, ...] = ()


def _rows_of(*columns: Field, otherwise: Arguments) -> Callable[[int], list[Arguments]]:
    """A sampler of rows in which none of these columns of one table is empty."""

    def sample(count: int) -> list[Arguments]:
        found = (tuple(row) for row in _spread(columns, count * SPARE))
        return _evenly(dict.fromkeys(row for row in found if all(row)), count) or [otherwise]

    return sample


def _spread(columns: Sequence[Field], count: int) -> list[Arguments]:
    """Columns of about so many rows, from the first to the last of the table."""
    model, key = columns[0].model, columns[0].model.id
    rows, wanted = model.select(*columns).tuples(), _keys(model, count)
    found = list(rows.where(key.in_(ValueLiterals(wanted))).order_by(key)) if wanted else []
    return found if len(found) * 2 > len(wanted) else list(rows.order_by(key.desc()).limit(count))


def _keys(model: Any, count: int) -> list[int]:
    """At most so many numbers between the lowest and the highest primary key of a table, evenly spread."""
    # Each by itself: SQLite reads the whole table for MIN and MAX in one query.
    lowest, highest = (model.select(end(model.id)).scalar() for end in (fn.MIN, fn.MAX))
    if not isinstance(lowest, int):  # no rows, or keys of a CRM that numbers nothing
        return []
    # Fractions of the golden ratio keep no step with a pattern in the rows.
    fractions = (place * GOLDEN_RATIO % 1 for place in range(count))
    return sorted({lowest + int((highest - lowest + 1) * fraction) for fraction in fractions})


def _evenly(values: Iterable[Arguments], count: int) -> list[Arguments]:
    """So many of the values, from the first to the last."""
    values = list(values)
    count = min(count, len(values))
    return [values[place * len(values) // count] for place in range(count)]


def _audiences(count: int) -> list[Arguments]:
    """Lists of contacts that were entered one after another, as an import does."""
    contacts = Contact.select(Contact.id).order_by(Contact.id).limit(AUDIENCE)
    firsts = _keys(Contact, min(count, AUDIENCES)) or [1]
    return [([*contacts.where(Contact.id >= first).scalars()] or [1],) for first in firsts]


_contacts = _rows_of(Contact.id, otherwise=(1,))


def _has_opted_out(contact_id: int, flag_type: str = "opted_out") -> bool:
    """``has_opted_out`` as an application asks that sends the kind of flag as a parameter."""
    flags = ContactFlag.select().where(ContactFlag.flag_type == flag_type, ContactFlag.contact == contact_id)
    return bool(flags.exists())


def _opted_out_among(contact_ids: list[int], flag_type: str = "opted_out") -> list[int]:
    """``opted_out_among`` as an application asks that sends the kind of flag as a parameter."""
    flags = ContactFlag.select(ContactFlag.contact).where(
        ContactFlag.flag_type == flag_type, ContactFlag.contact.in_(ValueLiterals(contact_ids))
    )
    return list(flags.scalars())


# In the order of the migration.
PROBES = (
    Probe(
        "ix_activity_openphone_id",
        claim="O(log n)",
        query="activity_seen(openphone_id)",
        ask=models.activity_seen,
        sample=_rows_of(Activity.openphone_id, otherwise=("AC100000001",)),
    ),
    Probe(
        "ix_webhook_event_processed",
        claim="O(log n) over the waiting events alone",
        query="unprocessed_events(event_type)",
        ask=lambda event_type: list(models.unprocessed_events(event_type)),
        sample=_rows_of(WebhookEvent.event_type, otherwise=("message.received",)),
    ),
    Probe(
        "ix_campaign_membership_campaign_status",
        claim="O(log n)",
        query="campaign_members(campaign_id, status)",
        ask=lambda campaign_id, status: list(models.campaign_members(campaign_id, status)),
        sample=_rows_of(CampaignMembership.campaign, CampaignMembership.status, otherwise=(1, "pending")),
    ),
    Probe(
        "ix_contact_phone_hash",
        claim="O(1)",
        query="contact_by_phone(phone)",
        ask=models.contact_by_phone,
        sample=_rows_of(Contact.phone, otherwise=("+12025550123",)),
    ),
    Probe(
        "ix_activity_conversation_created",
        claim="a pre-sorted scan",
        query="conversation_history(conversation_id)",
        ask=models.conversation_history,
        sample=_rows_of(Activity.conversation, otherwise=(1,)),
    ),
    Probe(
        "ix_contact_flag_opted_out",
        claim="O(log k) over the k opted-out rows alone",
        query="has_opted_out(contact_id)",
        ask=models.has_opted_out,
        sample=_contacts,
        as_parameter=_has_opted_out,
    ),
    Probe(
        "ix_contact_flag_opted_out",
        claim="O(log k) over the k opted-out rows alone",
        query="opted_out_among(contact_ids)",
        ask=models.opted_out_among,
        sample=_audiences,
        as_parameter=_opted_out_among,
    ),
    Probe(
        "ix_conversation_contact_id",
        claim="O(log n)",
        query="conversations_of(contact_id)",
        ask=lambda contact_id: list(models.conversations_of(contact_id)),
        sample=_rows_of(Conversation.contact, otherwise=(1,)),
    ),
    Probe(
        "ix_activity_type",
        claim="O(log n) and the rows of the type",
        query="activities_of_type(activity_type)",
        ask=lambda activity_type: list(models.activities_of_type(activity_type)),
        sample=_rows_of(Activity.activity_type, otherwise=("message",)),
    ),
    Probe(
        "ix_campaign_membership_contact_id",
        claim="O(log n)",
        query="campaigns_of(contact_id)",
        ask=lambda contact_id: list(models.campaigns_of(contact_id)),
        sample=_rows_of(CampaignMembership.contact, otherwise=(1,)),
        also_reads=("campaign",),
    ),
    Probe(
        "ix_webhook_event_event_type",
        claim="a scan of the index instead of the table",
        query="event_counts()",
        ask=models.event_counts,
        sample=lambda count: [()],
    ),
)
