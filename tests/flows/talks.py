"""Two conversations written by hand in LoCoMo's form:

Eight sessions, questions of several categories, and what others extracted.
"""

from __future__ import annotations

import json
from pathlib import Path

SAID = {
    "talk-1": [
        [("Ines", "I adopted a grey parrot from the shelter in Porto."), ("Ravi", "Lovely! What will you call it?"),
         ("Ines", "Her name is Basil, after my grandfather's dog.")],
        [("Ravi", "My brother opened a bakery near the old tram depot."), ("Ines", "What does he bake there?"),
         ("Ravi", "Rye bread, and a walnut cake on Sundays.")],
        [("Ines", "I failed my driving test again."), ("Ravi", "Oh no. Was it the parking?"),
         ("Ines", "Yes, I touched the kerb twice.")],
        [("Ravi", "We repainted the kitchen in dark green."), ("Ines", "Brave! Did your sister help?"),
         ("Ravi", "She chose the colour and then left for Oslo.")],
        [("Ines", "The choir sings in the cathedral on the second of May."), ("Ravi", "I will come with my parents."),
         ("Ines", "Bring a jacket, it is cold inside.")],
        [("Ravi", "I bought a used telescope from a retired teacher."), ("Ines", "What can you see with it?"),
         ("Ravi", "The rings of Saturn, on a clear night.")],
    ],
    "talk-2": [
        [("Olga", "I started to learn Portuguese with a tutor."), ("Sam", "How often do you meet?"),
         ("Olga", "Every Tuesday at seven in the library.")],
        [("Sam", "Our rowing team came third in Grenoble."), ("Olga", "Congratulations! Who was first?"),
         ("Sam", "The team from Basel, by two seconds.")],
    ],
}  # fmt: skip
ASKED = {
    "talk-1": [
        ("What is the parrot of Ines called?", ["D1:3"], 4), ("Which cake does Ravi's brother bake?", ["D2:3"], 4),
        ("What did Ravi buy from a teacher, and what can he see?", ["D6:1", "D6:3"], 1),
        ("When does the choir sing?", ["D5:1"], 2), ("What did Ravi adopt in Porto?", ["D1:1"], 5),
    ],
    "talk-2": [
        ("When does Olga meet her tutor?", ["D1:3"], 2), ("Who won the race in Grenoble?", ["D2:3"], 4),
        ("Which instrument does Sam play?", ["D2:1"], 5),
    ],
}  # fmt: skip
SUMMARIES = {
    "talk-1": [
        "Ines has a new parrot named Basil.", "Ravi's brother runs a bakery.", "Ines did not pass her driving test.",
        "Ravi's kitchen is green now.", "The choir of Ines gives a concert.", "Ravi watches planets through a telescope.",
    ],
    "talk-2": ["Olga takes language lessons.", "Sam's team won bronze."],
}  # fmt: skip
OBSERVED = {
    "talk-1": {1: {"Ines": [["Ines keeps a bird that she named after a dog.", "D1:3"]]},
               2: {"Ravi": [["Ravi's brother sells walnut cake.", ["D2:1", "D2:3"]]]}},
    "talk-2": {1: {"Olga": [["Olga studies Portuguese on Tuesdays.", "D1:3"]]}},
}  # fmt: skip
HAPPENED = {
    "talk-1": {1: {"Ines": ["Ines adopts a parrot."], "Ravi": [], "date": "3 March, 2025"}},
    "talk-2": {2: {"Olga": [], "Sam": ["Sam comes third in a rowing race."], "date": "11 March, 2025"}},
}


def conversation(name: str) -> dict:
    """One sample of LoCoMo's form, with its extractions."""
    sessions = SAID[name]
    talk: dict = {"speaker_a": sessions[0][0][0], "speaker_b": sessions[0][1][0]}
    for n, session in enumerate(sessions, 1):
        talk[f"session_{n}_date_time"] = f"1:{n:02d} pm on {n + 2} March, 2025"
        talk[f"session_{n}"] = [
            {"speaker": speaker, "dia_id": f"D{n}:{i}", "text": text} for i, (speaker, text) in enumerate(session, 1)
        ]
    return {
        "sample_id": name,
        "conversation": talk,
        "qa": [{"question": q, "evidence": refs, "category": c, "answer": "-"} for q, refs, c in ASKED[name]],
        "session_summary": {f"session_{n}_summary": text for n, text in enumerate(SUMMARIES[name], 1)},
        "observation": {f"session_{n}_observation": found for n, found in OBSERVED[name].items()},
        "event_summary": {f"events_session_{n}": found for n, found in HAPPENED[name].items()},
    }


def write_talks(file: Path, *names: str) -> Path:
    """A LoCoMo file of some conversations, by default both."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([conversation(name) for name in names or tuple(SAID)]))
    return file
