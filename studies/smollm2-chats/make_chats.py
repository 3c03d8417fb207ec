"""Write chats.jsonl: conversations at a till, made by chance, each of two or three questions that follow each other.

python make_chats.py
"""

import json
import random
from pathlib import Path

COUNT = 200
GOODS = (
    "apples bagels candles eggs figs grapes hats jars kites lamps melons napkins onions pencils quinces rolls spoons "
    "tiles umbrellas vases"
).split()
SHOPS = "bakery,market,museum shop,station kiosk,corner store,farm stand".split(",")
NAMES = "Ada Ben Chloe Dev Elif Finn Greta Hugo Ines Jonas Kira Liam".split()
SYSTEM = "You work at a till. Show the sum, then write #### and the number."


def main() -> None:
    """Write the conversations, the same ones each time."""
    draw = random.Random(0)
    lines = [json.dumps({"messages": conversation(draw)}) + "\n" for _ in range(COUNT)]
    Path(__file__).with_name("chats.jsonl").write_text("".join(lines), encoding="utf-8")


def conversation(draw: random.Random) -> list[dict]:
    """Return a conversation: what two goods cost, the change, and sometimes what each of several pays."""
    (one, other), shop, name = draw.sample(GOODS, 2), draw.choice(SHOPS), draw.choice(NAMES)
    counts, prices = [draw.randint(2, 9) for _ in "12"], [draw.randint(1, 9) for _ in "12"]
    parts = [count * price for count, price in zip(counts, prices, strict=True)]
    total = sum(parts)
    turns = [
        ("system", SYSTEM),
        (
            "user",
            f"{name} buys {counts[0]} {one} at {prices[0]} francs and {counts[1]} {other} at {prices[1]} francs at the "
            f"{shop}. What is the total?",
        ),
        (
            "assistant",
            f"{counts[0]} {one} are {parts[0]} francs, {counts[1]} {other} are {parts[1]} francs, together "
            f"{parts[0]} + {parts[1]} = {total}.\n#### {total}",
        ),
    ]
    paid = total + draw.randint(1, 40)
    turns.append(("user", f"{name} pays with {paid} francs. How much is given back?"))
    turns.append(("assistant", f"{paid} - {total} = {paid - total} francs are given back.\n#### {paid - total}"))
    if total % 2 == 0 and draw.random() < 0.5:
        turns.append(("user", f"A friend pays half of the {one} and {other}. How much is that?"))
        turns.append(("assistant", f"{total} / 2 = {total // 2} francs each.\n#### {total // 2}"))
    return [{"role": role, "content": content} for role, content in turns]


if __name__ == "__main__":
    main()
