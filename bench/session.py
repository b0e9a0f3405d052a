"""`make session`: one question to the embedded model, its draft and its correction, as they come out."""

import asyncio
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

from openai import OpenAI

from bench.processes import answering, free_port, process

QUESTION = "How do I plant a tree?"


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
        answer: Any = client.chat.completions.create(
            model="smollm2",
            messages=[{"role": "user", "content": QUESTION}],
            temperature=0,
            max_tokens=160,
            extra_headers={"X-Align-Return": "draft"},
        )
    align = answer.align
    print(f"**Question** {QUESTION}\n\n**Draft** by smollm2\n\n{quoted(align.pop('draft'))}\n")
    print(f"**Correction**, {align['verdict']} ({align['reason']})\n\n{quoted(answer.choices[0].message.content)}\n")
    print(f"toward {', '.join(align['objectives'])}; {align['timings_ms']}")


if __name__ == "__main__":
    main()
