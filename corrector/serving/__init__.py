"""A model of transformers behind OpenAI's two completion APIs: what the `transformers` engine runs as a child.

`http` hears and answers, `asked` reads a request, `row` is one answer on its way, `worker` decodes the rows that are in
flight together, through `together` or `alone`. Torch is imported in the latter three only. Knows nothing of correctors.
"""
