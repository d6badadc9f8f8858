"""The words that several columns of made-up rows share, and the parts of a message."""

FIRST_NAMES = (
    *("Maria", "James", "Wei", "Aisha", "Lucas", "Olga", "Kofi", "Hannah", "Diego", "Priya", "Noah", "Fatima"),
    *("Emma", "Yusuf", "Sofia", "Liam", "Mei", "Carlos", "Ingrid", "Tariq", "Chloe", "Andrei", "Nadia", "Owen"),
)
LAST_NAMES = (
    *("Garcia", "Smith", "Chen", "Khan", "Silva", "Ivanova", "Mensah", "Jones", "Nguyen", "Patel", "Kowalski"),
    *("Brown", "Haddad", "Rossi", "Okafor", "Murphy", "Lopez", "Larsen", "Kim", "Dubois", "Weber", "Novak", "Sato"),
)
LINES = ("PNmain0001", "PNsales002", "PNservice3", "PNweekend4")  # what OpenPhone calls the company's four numbers
TYPES = {"message": 81, "call": 15, "voicemail": 2, "email": 2}  # of activities, in percent

# The body of a message is one of each: 100 to 300 bytes.
GREETINGS = (
    "Hi,",
    "Good morning,",
    "Hi, this is the office:",
    "Sorry for the late answer.",
    "Hello from the scheduling desk, hope that you are well.",
    "Just a short note after our conversation on the phone earlier today:",
)
TOPICS = (
    "about the estimate for the roof that we talked about last week,",
    "the crew can be at your place between eight and ten in the morning,",
    "the insurance wants a second opinion before it pays for the repair,",
    "our records show an open invoice for the inspection in the spring,",
    "the permit for the work on the garage has been granted by the city,",
    "the forecast promises three days of rain, so we would rather not begin on Monday,",
)
QUESTIONS = (
    "does Thursday still work for you?",
    "could you send us the address and a number for the gate?",
    "please call us back when you have a minute, the office is open until six.",
    "can you confirm the date, so that we can book the crew and the lift for the whole day?",
)
FAREWELLS = ("Thanks!", "Best regards, Sam", "Talk soon.", "Have a good day, and greetings from all of us here.")
SUMMARIES = (
    "The caller asked for a new date and will send photos of the damage before Friday.",
    "Agreed on the price of the estimate; the deposit is to be paid by card next week.",
    "Left a message about the warranty. Wants to be called back in the evening, not before six.",
)
TEMPLATE = "Hi {first_name}, this is Sam from the roofing company. Do you have a minute to talk about your roof?"
TEMPLATE_B = "Hello {first_name}, a short question: when did a roofer last inspect your roof?"
