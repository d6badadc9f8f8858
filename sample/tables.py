"""The seven tables of a made-up CRM: for each column the SQL expression of its value."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sample import words
from sample.sql import (
    DAY,
    SIZE,
    SPAN,
    STRIDE,
    Spelling,
    chance_of,
    contact_of,
    conversation_of,
    draw,
    happened,
    one_of,
    our_number,
    phone_of,
    shared,
    started,
    text,
    when,
)


class Rows(NamedTuple):
    """The rows of a table: expressions by column, and the common table expressions that they come from."""

    columns: dict[str, str]
    steps: list[str]
    source: str = "drawn"

    def insert(self, table: str) -> str:
        """Return the statement that inserts them."""
        columns, values = ", ".join(self.columns), ",\n       ".join(self.columns.values())
        steps = ",\n".join(self.steps)
        return f"INSERT INTO {{{table}}} ({columns})\n  WITH {steps}\nSELECT {values}\n  FROM {self.source}"


def contacts(sql: Spelling) -> Rows:
    """Return people, a third of them customers."""
    type = shared("customer type", {"customer": 35, "prospect": 60, "partner": 5})
    is_customer = f"{type} = 'customer'"
    tags = ('{"tags": ["spring"]}', '{"tags": ["vip", "spring"]}', '{"language": "es"}')
    amount = f"({draw('tens', 360_000)} * 10 + {draw('cents', 9)} + 1) / 100.0"  # SQLite would not keep a last 0
    columns = {
        "id": "n",
        "first_name": one_of("first name", words.FIRST_NAMES),
        "last_name": one_of("last name", words.LAST_NAMES),
        "email": when(f"{draw('has email', 100)} < 60", "'contact.' || n || '@example.com'"),
        "phone": phone_of("n"),
        "contact_metadata": when(f"{draw('has tags', 100)} < 20", sql.json.format(one_of("tags", tags))),
        "import_source": one_of("import source", ("csv", "openphone", "quickbooks", "website form")),
        "imported_at": sql.time(draw("imported at", SPAN)),
        "quickbooks_customer_id": when(is_customer, "'QB' || n"),
        "customer_type": type,
        "payment_terms": when(is_customer, "'Net 30'"),
        "tax_exempt": f"{draw('tax exempt', 50)} = 0",
        "total_sales": when(is_customer, amount),
        "lead_source": when(f"{draw('has source', 100)} < 80", one_of("source", ("website", "referral", "radio"))),
    }
    return Rows(columns, [sql.drawn()])


def conversations(sql: Spelling) -> Rows:
    """Return conversations, each with its last activity if it has any."""
    contact, chance = contact_of("drawn.n"), "drawn.chance"
    columns = {
        "id": "drawn.n",
        "openphone_id": sql.openphone_id("CN", "drawn.n", chance),
        "contact_id": contact,
        "name": when(f"{draw('has name', 100, chance)} < 10", "'Roof repair ' || drawn.n"),
        "participants": f"{phone_of(contact)} || ',' || {our_number(chance)}",
        "phone_number_id": one_of("line", words.LINES, chance),
        "last_activity_at": sql.time(happened("last.n")),
        "last_activity_type": shared("type", words.TYPES, "last.chance"),
        "last_activity_id": when("last.n IS NOT NULL", sql.openphone_id("AC", "last.n", "last.chance")),
    }
    steps = [
        sql.drawn(),
        sql.drawn("activities", "1", "{activities}"),
        f"ends AS (SELECT {conversation_of('chance')} AS conversation_id, max(n) AS n FROM activities GROUP BY 1)",
        f"lasts AS (SELECT conversation_id, n, {chance_of('n')} AS chance FROM ends)",
    ]
    return Rows(columns, steps, "drawn LEFT JOIN lasts AS last ON last.conversation_id = drawn.n")


def activities(sql: Spelling) -> Rows:
    """Return messages, calls, voicemails and emails in the order of time."""
    type, conversation, second = shared("type", words.TYPES), conversation_of("chance"), happened("n")
    is_incoming = f"({type} = 'voicemail' OR {draw('direction', 100)} < 47)"
    ours, theirs = our_number(), phone_of(contact_of(conversation))
    outcome = f"""CASE WHEN {type} = 'voicemail' THEN 'completed'
        WHEN {type} = 'call' AND {is_incoming} THEN {shared("outcome", {"completed": 70, "missed": 30})}
        WHEN {type} = 'call' THEN {shared("outcome", {"completed": 64, "no-answer": 31, "busy": 5})}
        WHEN {is_incoming} THEN 'received'
        ELSE {shared("outcome", {"delivered": 93, "sent": 5, "failed": 2})} END"""
    is_completed, duration = f"{outcome} = 'completed'", f"({draw('duration', 895)} + 5)"
    parts = (words.GREETINGS, words.TOPICS, words.QUESTIONS, words.FAREWELLS)
    body = " || ' ' || ".join(one_of(part[0], part) for part in parts)
    subjects = ("Your estimate", "Re: Your estimate", "Invoice attached", "Change of date", "Photos of the roof")
    columns = {
        "id": "n",
        "openphone_id": sql.openphone_id("AC"),
        "conversation_id": conversation,
        "contact_id": contact_of(conversation),
        "activity_type": type,
        "direction": f"CASE WHEN {is_incoming} THEN 'incoming' ELSE 'outgoing' END",
        "status": outcome,
        "from_number": f"CASE WHEN {is_incoming} THEN {theirs} ELSE {ours} END",
        "to_numbers": sql.json.format(f"""'["' || CASE WHEN {is_incoming} THEN {ours} ELSE {theirs} END || '"]'"""),
        "user_id": f"{draw('user', 5)} + 1",
        "phone_number_id": one_of("line", words.LINES),
        "body": when(f"{type} IN ('message', 'email')", body),
        "email_subject": when(f"{type} = 'email'", one_of("subject", subjects)),
        "duration_seconds": when(is_completed, duration),
        "recording_url": when(is_completed, "'https://example.com/recordings/' || n"),
        "ai_summary": when(is_completed, one_of("summary", words.SUMMARIES)),
        "completed_at": when(is_completed, sql.time(f"({second} + {duration})")),
        "created_at": sql.time(second),
    }
    return Rows(columns, [sql.drawn()])


def campaigns(sql: Spelling) -> Rows:
    """Return campaigns, one after another."""
    type = shared("campaign type", {"blast": 60, "automated": 25, "ab_test": 15})
    topic = one_of("campaign topic", ("Spring inspection", "Storm damage", "Gutter cleaning", "Win back", "Solar"))
    columns = {
        "id": "n",
        "name": f"{topic} || ' ' || n",
        "created_at": sql.time(started("n")),
        "status": shared("campaign status", {"complete": 70, "running": 15, "paused": 7, "draft": 8}),
        "template_a": text(words.TEMPLATE),
        "template_b": when(f"{type} = 'ab_test'", text(words.TEMPLATE_B)),
        "quiet_hours_start": "'20:00:00'",
        "quiet_hours_end": "'09:00:00'",
        "campaign_type": type,
        "audience_type": one_of("audience", ("cold", "customer", "mixed")),
        "daily_limit": "125",
        "business_hours_only": f"{draw('business hours', 2)} = 0",
        "ab_config": when(f"{type} = 'ab_test'", sql.json.format(text('{"split": 50}'))),
        "channel": "'sms'",
        "days_between_contacts": "30",
    }
    return Rows(columns, [sql.drawn()])


def memberships(sql: Spelling) -> Rows:
    """Return the members of each campaign; no contact is in a campaign twice."""
    running = {"pending": 45, "sent": 40, "failed": 2, "suppressed": 5, "replied_positive": 5, "replied_negative": 3}
    paused = {"pending": 30, "sent": 52, "failed": 3, "suppressed": 5, "replied_positive": 6, "replied_negative": 4}
    complete = {"sent": 76, "failed": 4, "suppressed": 6, "replied_positive": 9, "replied_negative": 5}
    status = f"""CASE campaign_status WHEN 'draft' THEN 'pending' WHEN 'running' THEN {shared("progress", running)}
        WHEN 'paused' THEN {shared("progress", paused)} ELSE {shared("progress", complete)} END"""
    is_sent, has_replied = f"{status} IN ('sent', 'replied_positive', 'replied_negative')", f"{status} LIKE 'replied%'"
    first_name = one_of("first name", words.FIRST_NAMES, chance_of("contact_id"))
    columns = {
        "id": "n",
        "contact_id": "contact_id",
        "campaign_id": "campaign_id",
        "status": status,
        "variant_sent": when(is_sent, one_of("variant", "AB")),
        "sent_at": when(is_sent, sql.time(f"({started('campaign_id')} + {draw('sent at', 20 * DAY)})")),
        "sent_activity_id": when(is_sent, "last_sent"),
        "reply_activity_id": when(has_replied, "last_received"),
        "pre_send_flags": when(f"{draw('flagged', 100)} < 8", sql.json.format(text('{"recently_texted": true}'))),
        "response_sentiment": when(has_replied, f"substr({status}, {len('replied_') + 1})"),
        "message_sent": when(is_sent, f"replace({text(words.TEMPLATE)}, {text('{first_name}')}, {first_name})"),
        "script_adapted": f"{draw('script', 10)} = 0",
    }
    steps = [
        f"sized AS (SELECT id, status, {SIZE} AS size FROM {{campaign}})",
        "bounded AS (SELECT id, status, CASE WHEN size < {largest} THEN size ELSE {largest} END AS size FROM sized)",
        "placed AS (SELECT bounded.*, CAST(sum(size) OVER (ORDER BY id) AS bigint) - size AS before FROM bounded)",
        f"""members AS (
            SELECT before + place.id AS n,
                   placed.id AS campaign_id,
                   placed.status AS campaign_status,
                   (placed.id * placed.id + CAST(place.id AS bigint) * {STRIDE}) % {{contacts}} + 1 AS contact_id
              FROM placed
              JOIN {{contact}} AS place ON place.id <= placed.size
             WHERE before + place.id <= {{memberships}}
        )""",
        f"drawn AS (SELECT members.*, {chance_of('n')} AS chance FROM members)",
        """messages AS (
            SELECT contact_id,
                   max(CASE WHEN direction = 'outgoing' THEN id END) AS last_sent,
                   max(CASE WHEN direction = 'incoming' THEN id END) AS last_received
              FROM {activity}
             WHERE activity_type = 'message'
             GROUP BY contact_id
        )""",
    ]
    return Rows(columns, steps, "drawn LEFT JOIN messages USING (contact_id)")


def flags(sql: Spelling) -> Rows:
    """Return flags; with three to two contacts, three contacts in a hundred have opted out."""
    types = {"opted_out": 2, "recently_texted": 78, "office_number": 14, "do_not_contact": 6}
    type, second = shared("flag type", types), draw("flagged at", SPAN)
    columns = {
        "id": "n",
        "contact_id": f"{draw('flagged contact', '{contacts}')} + 1",
        "flag_type": type,
        "flag_reason": when(f"{type} = 'opted_out'", "'Replied STOP'"),
        "applies_to": shared("applies to", {"sms": 80, "both": 15, "email": 5}),
        "created_at": sql.time(second),
        "expires_at": when(f"{type} = 'recently_texted'", sql.time(f"({second} + {30 * DAY})")),
        "created_by": shared("flagged by", {"system": 90, "import": 6, "maria@example.com": 4}),
    }
    return Rows(columns, [sql.drawn()])


def events(sql: Spelling) -> Rows:
    """Return the events of the latest activities, of which one in a hundred waits; older ones have been deleted."""
    deleted = "({activities} - {events})"
    type = """CASE activity_type WHEN 'call' THEN 'call.completed' WHEN 'voicemail' THEN 'call.recording.completed'
        WHEN 'message' THEN CASE direction WHEN 'incoming' THEN 'message.received' ELSE 'message.delivered' END
        ELSE CASE direction WHEN 'incoming' THEN 'email.received' ELSE 'email.sent' END END"""
    payload = " || ".join(
        (
            *(text('{"object": "event", "apiVersion": "v3", "type": "'), type),
            *(text('", "createdAt": "'), "created_at"),
            *(text('", "data": {"object": {"id": "'), "openphone_id"),
            *(text('", "phoneNumberId": "'), "phone_number_id"),
            text('", "source": "openphone", "media": []}}}'),
        )
    )
    is_processed = f"{draw('processed', 100)} > 0"
    columns = {
        "id": "n",
        "event_id": sql.openphone_id("EV"),
        "event_type": type,
        "api_version": "'v3'",
        "payload": sql.json.format(payload),
        "processed": is_processed,
        "processed_at": when(is_processed, sql.time(f"({happened('activity_id')} + 2)")),
        "error_message": when(f"NOT {is_processed} AND {draw('timed out', 10)} = 0", "'Timed out'"),
        "created_at": "created_at",
    }
    steps = [
        f"""latest AS (
            SELECT activity.*,
                   CAST(id AS bigint) AS activity_id,
                   CAST(id AS bigint) - {deleted} AS n
              FROM {{activity}} AS activity
             WHERE id BETWEEN {{first}} + {deleted} AND {{last}} + {deleted}
        )""",
        f"drawn AS (SELECT latest.*, {chance_of('n')} AS chance FROM latest)",
    ]
    return Rows(columns, steps)


TABLES: dict[str, Callable[[Spelling], Rows]] = {
    "contact": contacts,
    "conversation": conversations,
    "activity": activities,
    "campaign": campaigns,
    "campaign_membership": memberships,
    "contact_flag": flags,
    "webhook_event": events,
}
