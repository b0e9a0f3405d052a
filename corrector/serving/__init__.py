"""A model of transformers behind OpenAI's two completion APIs: what the `transformers` engine runs as a child.

`http` hears and answers, `request` reads what is asked, `generation` is one answer on its way, `worker` decodes those
that are in flight, by `continuous_batching` or `sequential`. Torch is imported in the latter three only. Knows nothing
of correctors.
"""
