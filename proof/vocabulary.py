"""The words that the generator puts its rows together from. Where the shares matter, they are percentages."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

T = TypeVar("T")


def weighted(*shares: tuple[T, int]) -> tuple[T, ...]:
    """A die with a hundred faces: each value with its percentage.

    Raises:
        ValueError: the percentages do not add up to a hundred.
    """
    faces = tuple(value for value, percentage in shares for _ in range(percentage))
    if len(faces) != 100:
        raise ValueError(f"{len(faces)} percent of something is not all of it")
    return faces


FIRST_NAMES = (
    *("Maria", "James", "Wei", "Aisha", "Lucas", "Olga", "Kofi", "Hannah", "Diego", "Priya", "Noah", "Fatima"),
    *("Emma", "Yusuf", "Sofia", "Liam", "Mei", "Carlos", "Ingrid", "Tariq", "Chloe", "Andrei", "Nadia", "Owen"),
    *("Grace", "Mateo", "Leila", "Samuel", "Ana", "Viktor", "Zoe", "Malik", "Ruth", "Henry", "Amara", "Peter"),
)
LAST_NAMES = (
    *("Garcia", "Smith", "Chen", "Khan", "Silva", "Ivanova", "Mensah", "Jones", "Nguyen", "Patel", "Kowalski"),
    *("Brown", "Haddad", "Rossi", "Okafor", "Murphy", "Lopez", "Larsen", "Kim", "Dubois", "Weber", "Novak"),
    *("Martin", "Ahmed", "Costa", "Wilson", "Sato", "Moreau", "Davis", "Popescu", "Lee", "Fischer", "Diallo"),
)

# All of these area codes are reserved for a longer numbering plan: the numbers are in E.164, and nobody's.
AREA_CODES = tuple(f"{first}9{last}" for first in range(2, 10) for last in range(10))


class Line(NamedTuple):
    """A telephone number of the company's own, and what OpenPhone calls it."""

    number: str
    id: str


LINES = (
    Line("+12025550100", "PNmain0001"),
    Line("+12025550101", "PNsales002"),
    Line("+12025550102", "PNservice3"),
    Line("+12025550103", "PNweekend4"),
)

IMPORT_SOURCES = ("csv", "openphone", "quickbooks", "website form")
CUSTOMER_TYPES = weighted(("customer", 35), ("prospect", 60), ("partner", 5))
LEAD_SOURCES = ("website", "referral", "door hanger", "radio", "trade fair")
TAGS = ('{"tags": ["spring"]}', '{"tags": ["vip", "spring"]}', '{"tags": ["do not mail"]}', '{"language": "es"}')


class Kind(NamedTuple):
    """What an activity can be: its webhook event, whether it has a text, and how it can end."""

    type: str
    direction: str
    event: str
    written: bool
    statuses: tuple[str, ...]


INCOMING_MESSAGE = Kind("message", "incoming", "message.received", True, weighted(("received", 100)))
OUTGOING_MESSAGE = Kind(
    *("message", "outgoing", "message.delivered", True),
    weighted(("delivered", 93), ("sent", 5), ("failed", 2)),
)
INCOMING_CALL = Kind("call", "incoming", "call.completed", False, weighted(("completed", 70), ("missed", 30)))
OUTGOING_CALL = Kind(
    *("call", "outgoing", "call.completed", False),
    weighted(("completed", 64), ("no-answer", 31), ("busy", 5)),
)
VOICEMAIL = Kind("voicemail", "incoming", "call.recording.completed", False, weighted(("completed", 100)))
INCOMING_EMAIL = Kind("email", "incoming", "email.received", True, weighted(("received", 100)))
OUTGOING_EMAIL = Kind("email", "outgoing", "email.sent", True, weighted(("delivered", 97), ("bounced", 3)))

ACTIVITIES = weighted(
    (INCOMING_MESSAGE, 38),
    (OUTGOING_MESSAGE, 43),
    (INCOMING_CALL, 8),
    (OUTGOING_CALL, 7),
    (VOICEMAIL, 2),
    (INCOMING_EMAIL, 1),
    (OUTGOING_EMAIL, 1),
)

PAYLOAD = (
    '{"object": "event", "apiVersion": "v3", "type": "%s", "createdAt": "%s", "data": {"object": '
    '{"id": "%s", "phoneNumberId": "%s", "source": "openphone", "media": []}}}'
)
SUBJECTS = ("Your estimate", "Re: Your estimate", "Invoice attached", "Change of date", "Photos of the roof")
SUMMARIES = (
    "The caller asked for a new date and will send photos of the damage before Friday.",
    "Agreed on the price of the estimate; the deposit is to be paid by card next week.",
    "Left a message about the warranty. Wants to be called back in the evening, not before six.",
    "No decision yet: a neighbour has made another offer, and they will compare the two.",
)

# A body is one of each: some 100 to 300 bytes.
OPENINGS = tuple(
    f"{greeting} {topic}"
    for greeting in (
        "Hi,",
        "Good morning,",
        "Hello again,",
        "Hi, this is the office:",
        "Sorry for the late answer.",
        "Thanks for calling back.",
        "Hello from the scheduling desk, hope that you are well.",
        "Just a short note after our conversation on the phone earlier today:",
    )
    for topic in (
        "about the estimate for the roof that we talked about last week,",
        "we received the photos of the gutter and had a look at them together,",
        "the crew can be at your place between eight and ten in the morning,",
        "the insurance wants a second opinion before it pays for the repair,",
        "the material for the north side has arrived and is in our yard now,",
        "our records show an open invoice for the inspection in the spring,",
        "the colour that you chose is not made any more, sadly, but a close one is,",
        "the permit for the work on the garage has been granted by the city,",
        "the forecast promises three days of rain, so we would rather not begin on Monday,",
        "your neighbour said that you might want the same work done on your side of the house,",
    )
)
CLOSINGS = tuple(
    f" {question} {farewell}"
    for question in (
        "does Thursday still work for you?",
        "could you send us the address and a number for the gate?",
        "shall we go on as planned, or wait until you have spoken with your family?",
        "please call us back when you have a minute, the office is open until six.",
        "can you confirm the date, so that we can book the crew and the lift for the whole day?",
        "it would help us to know by tomorrow noon, because another customer asks for that date.",
    )
    for farewell in (
        "Thanks!",
        "Best regards, Sam",
        "Talk soon.",
        "Have a good day, and greetings from all of us here.",
    )
)
BODIES = tuple(opening + closing for opening in OPENINGS for closing in CLOSINGS)

CAMPAIGN_TOPICS = ("Spring inspection", "Storm damage", "Gutter cleaning", "Win back", "Referral", "Solar", "Winter")
CAMPAIGN_STATUSES = weighted(("complete", 70), ("running", 15), ("paused", 7), ("draft", 8))
CAMPAIGN_TYPES = weighted(("blast", 60), ("automated", 25), ("ab_test", 15))
AUDIENCES = ("cold", "customer", "mixed")
TEMPLATE = "Hi {first_name}, this is Sam from the roofing company. Do you have a minute to talk about your roof?"
TEMPLATE_B = "Hello {first_name}, a short question: when was your roof last looked at by somebody who knows roofs?"
MESSAGES = tuple(TEMPLATE.format(first_name=name) for name in FIRST_NAMES)

MEMBER_STATUSES = {
    "draft": weighted(("pending", 100)),
    "running": weighted(
        *(("pending", 45), ("sent", 40), ("failed", 2), ("replied_positive", 5), ("replied_negative", 3)),
        ("suppressed", 5),
    ),
    "paused": weighted(
        *(("pending", 30), ("sent", 52), ("failed", 3), ("replied_positive", 6), ("replied_negative", 4)),
        ("suppressed", 5),
    ),
    "complete": weighted(
        *(("sent", 76), ("failed", 4), ("replied_positive", 9), ("replied_negative", 5), ("suppressed", 6)),
    ),
}
SENT = ("sent", "replied_positive", "replied_negative")
SENTIMENTS = {"replied_positive": "positive", "replied_negative": "negative"}

# Two in a hundred flags: with three flags to two contacts, three contacts in a hundred have opted out.
FLAG_TYPES = weighted(("opted_out", 2), ("recently_texted", 78), ("office_number", 14), ("do_not_contact", 6))
FLAG_REASONS = {
    "opted_out": "Replied STOP",
    "recently_texted": None,
    "office_number": "Answered by a receptionist",
    "do_not_contact": "Asked for it on the phone",
}
FLAGGED_BY = weighted(("system", 90), ("import", 6), ("maria@example.com", 4))
APPLIES_TO = weighted(("sms", 80), ("both", 15), ("email", 5))
