"""The replies that the examples get with `--local`: by example, by what the last message contains.

A list has one reply for each time, then the server's fake model replies.
"""

from langchain_aimlernie.testing import Fault, Reply

SKY = "Air scatters blue light more than red, so blue reaches us from all over the sky."
CONTACT = '{"name": "Ada Lovelace", "email": "ada@example.com", "mood": "angry"}'
THOUGHT = "If the ball costs x, the bat costs x + 1, so 2x + 1 = 1.10 and x = 0.05."


def call(name: str, /, **args: object) -> dict[str, object]:
    """Return a tool call."""
    return {"name": name, "args": args}


def calls(*each: dict[str, object], reasoning: str | None = None) -> Reply:
    """Return a reply that calls tools."""
    return Reply(tool_calls=each, reasoning=reasoning)


WEATHER = calls(call("get_weather", city="Paris"))
WEATHER_AND_TIME = calls(call("get_weather", city="Paris"), call("get_time", city="London"))
TOOL_CHOICE = Reply('{"tools": ["get_weather"]}')

REPLIES: dict[str, dict[str, str | Reply | list[str | Reply]]] = {
    "agent": {
        "Paris and in London?": calls(
            call("get_weather", city="Paris"), call("get_weather", city="London")
        ),
        "sunny in London": "It is sunny and 21 degrees in both Paris and London.",
        "Which of them": "You asked about Paris first.",
        "divide 84 by 2": calls(call("divide", dividend=84, divisor=2)),
        "42.0": "84 divided by 2 is 42.",
    },
    "agent_budget": {
        "Ask the expert": calls(call("ask_expert", question="What is Paris like in spring?")),
        "Paris like in spring": "Mild: about 15 degrees, with some rain.",
        "about 15 degrees": "The expert says: about 15 degrees, with some rain.",
        "Thank you": "You are welcome.",
    },
    "agent_handoffs": {
        "Transfer me": calls(call("transfer_to_meteorologist")),
        "Handed over": WEATHER,
        "sunny in Paris": "It is sunny in Paris, at 21 degrees.",
    },
    "agent_human_in_the_loop": {
        "Send an email": calls(
            call("send_email", recipient="ada@example.com", text="Good morning")
        ),
        "Sent to ada": "I sent 'Good morning' to ada@example.com.",
        "Sent to bob": "Your reviewer had 'Hello!' sent to bob@example.com instead.",
        "User rejected": "I did not send the email: not now, you said.",
    },
    "agent_middleware": {
        "Paris and what is the time": [TOOL_CHOICE, TOOL_CHOICE, WEATHER_AND_TIME],
        "clock of London": "Paris is sunny, at 21 degrees. I could not get the time in London.",
    },
    "agent_streaming": {
        "weather in Paris?": calls(
            call("get_weather", city="Paris"), reasoning="The tool knows the weather."
        ),
        "sunny in Paris": Reply(
            "It is sunny in Paris, at 21 degrees.", reasoning="Now I can tell."
        ),
    },
    "agent_structured_output": {
        "weather in Paris?": WEATHER,
        "sunny in Paris": [
            '{"city": "Paris", "degrees": 21}',
            '{"city": "Paris", "degrees": 21}',
            calls(call("Report", city="Paris", degrees=21)),
        ],
    },
    "batch": {f"What is {each} squared?": f"{each * each}." for each in range(20)},
    "bulk": {
        "Great soup": '{"sentiment": "positive", "stars": 5}',
        "Cold and late": '{"sentiment": "negative", "stars": 2}',
        "Fine": '{"sentiment": "neutral", "stars": 3}',
        "Never again": '{"sentiment": "negative", "stars": 1}',
        "Best in town": '{"sentiment": "positive", "stars": 5}',
    },
    "bulk_ray": {"soup": "soupe", "table": "table", "river": "fleuve", "moon": "lune"},
    "chain": {
        "for a bakery": "Warm bread, warm hearts.",
        "Chinese: Warm bread": "热面包暖人心。",
        "for a harbour": "Every storm ends at a quay.",
        "for a library": "Open a book, open a door.",
        "for a school": "Ask first, then answer.",
    },
    "configurable_model": {
        "Name a colour": ["Blue.", "Teal.", "Vermilion."],
        "Name a tree": "Oak.",
        "Name a river": "The Seine",
    },
    "conversation": {
        "My name is Ada": "Welcome, Ada! It is good to have you here.",
        "I live in London": "London! You must be used to rain.",
        "Where do I live": "You live in London.",
    },
    "cost": {
        "a credit": "The unit in which the API counts: 2,000,000 credits are one US dollar.",
        "a token": "A piece of a word, the unit of prices.",
        "a byte": "Eight bits.",
        "a bit": "A zero or a one.",
        "a qubit": Reply("A bit in superposition.", reasoning="Keep it short."),
        "a nibble": "Four bits.",
        **{f"What is {each} squared?": f"{each * each}." for each in range(20)},
    },
    "errors_and_retries": {
        "you there": "Yes, I am here.",
        "still there": Reply("Yes, and I was about to say", fault=Fault("drop", events=5)),
        "Who answers": "The second model.",
    },
    "agent_resume": {
        "Charge 20 dollars": calls(
            call("charge_card", customer="Ada", dollars=20),
            call("send_receipt", address="ada@example.com"),
        ),
        "sent": "Ada's card is charged with 20 dollars, and her receipt is sent.",
    },
    "fastapi_streaming": {
        "What is a tide": "The rise and fall of the sea, pulled by moon and sun.",
        "What is a wave": "Wind that travels on through water.",
    },
    "mcp_tools": {
        "and the forecast": calls(
            call("get_weather", city="Paris"), call("get_forecast", city="Paris", days=2)
        ),
        "day 2": "It is sunny in Paris, at 21 degrees; 19 and 20 are expected on the next days.",
    },
    "rag": {
        "late book": "For four weeks [1]; a book that is late costs 20 cents a day [2].",
        "on Sundays": "No, it is closed on Sundays [1].",
    },
    "quick_start": {"sky blue": SKY, "Good night": "晚安"},
    "reasoning": {
        "A bat and a ball": [
            Reply("The ball costs 0.05.", reasoning=THOUGHT),
            Reply("The ball costs 0.05.", reasoning=THOUGHT),
            "The ball costs 0.05.",
        ]
    },
    "record_and_replay": {
        "a cassette": "A recording that can be played again.",
        "a tape": "What a cassette holds.",
    },
    "self_hosted": {
        "Who runs you": "You do, on a server of your own.",
        "91 a prime": "<think>7 times 13 is 91.</think>No: 91 is 7 times 13.",
    },
    "streaming": {
        "lighthouse": "Each night the keeper lit the lamp, and each night one ship more came home.",
        "one hundred": " ".join(map(str, range(1, 101))),
        "a quay": "A place to tie up ships along the shore.",
        "a pier": "A walkway that reaches out over the water.",
    },
    "structured_output": {
        "Ada Lovelace": [
            CONTACT,
            CONTACT,
            CONTACT,
            calls(call("Contact", name="Ada Lovelace", email="ada@example.com", mood="angry")),
        ]
    },
    "swap_chat_openai": {"hello": "Hello!", "Who are you": "A model behind the AI/ML API."},
    "swap_conversation": {
        "sunny in Paris": Reply("It is sunny in Paris.", reasoning="The tool has answered."),
        "weather in London": calls(
            call("get_weather", city="London"), reasoning="I need the tool again."
        ),
    },
    "tools": {
        "Paris and what is the time": WEATHER_AND_TIME,
        "10:30 in London": "It is sunny in Paris, at 21 degrees, and 10:30 in London.",
    },
    "vision": {"What colour": "Red.", "How many pages": "One, and it is empty."},
}
