"""`make session`: one question to the embedded model, its draft, and what becomes of that under two wishes."""

import asyncio
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

from openai import OpenAI

from bench.processes import answering, free_port, process

QUESTION = "Why do people drink green tea?"
WANTED = {
    "word": 'The response should say "drink" and not "beverage"',
    "signed": 'The response should end with "Yours, the tea team"',
}


def quoted(text: str) -> str:
    lines = [wrapped for line in text.split("\n") for wrapped in textwrap.wrap(line, 100) or [""]]
    return "\n".join(f"> {line}".rstrip() for line in lines)


def main() -> None:
    port = str(free_port())
    metaaligner = str(Path(sys.executable).parent / "metaaligner")
    with (
        tempfile.TemporaryDirectory() as state,
        process(metaaligner, "serve", "--port", port, stdout=subprocess.DEVNULL, XDG_STATE_HOME=state),
    ):
        asyncio.run(answering(f"http://127.0.0.1:{port}"))
        client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none")
        answers: list[Any] = [
            client.chat.completions.create(
                model="smollm2",
                messages=[{"role": "user", "content": QUESTION}],
                temperature=0,
                max_tokens=120,
                extra_body={"align": {"return": "draft", **asked}},
            )
            for asked in ({}, *({"define": {name: said}, "objectives": [name]} for name, said in WANTED.items()))
        ]
    print(f"**Question** {QUESTION}\n\n**Draft** by smollm2\n\n{quoted(answers[0].align['draft'])}\n")
    for answer in answers:
        align = answer.align
        told = "; ".join(WANTED.get(name, "") for name in align["objectives"]).strip("; ")
        toward = f"**Toward {', '.join(align['objectives'])}**" + (f" (*{told}*)" if told else "")
        print(f"{toward}: {align['verdict']} ({align['reason']})\n")
        print(f"{quoted(answer.choices[0].message.content)}\n\n{align['timings_ms']}\n")


if __name__ == "__main__":
    main()
