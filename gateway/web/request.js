// A form's wishes as the body of a request. Pure.

/** The body of POST /v1/chat/completions. What says nothing is left out, so that what is copied stays short. */
export function chatBody({ model, system, question, maxTokens, temperature, mode, wish, showDraft }) {
  const align = { ...wish, ...(mode && { mode }), ...(showDraft && { return: "live-draft" }) };
  return {
    model,
    messages: messages(system, question),
    ...(Number.isFinite(maxTokens) && { max_tokens: maxTokens }),
    ...(Number.isFinite(temperature) && { temperature }),
    stream: true,
    stream_options: { include_usage: true },
    ...(Object.keys(align).length > 0 && { align }),
  };
}

export function messages(system, question) {
  const asked = { role: "user", content: question };
  return system ? [{ role: "system", content: system }, asked] : [asked];
}

/**
 * `align.objectives` and `align.define` for what is ticked and what is written; nothing where that is the tenant's own.
 * Throws an `Error` that says what is missing.
 */
export function wishOf(catalogue, ticked, written) {
  const define = {};
  for (const { name, description } of written) {
    if (!name && !description) continue;
    if (!/^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/.test(name))
      throw new Error("An objective's name has letters, digits, - and _ only, such as plain_words.");
    if (!description) throw new Error(`Say in one sentence what ${name} means: that is what the corrector reads.`);
    if (name in define) throw new Error(`${name} is written twice.`);
    define[name] = description;
  }
  const own = catalogue.data.filter((one) => one.default || one.required).map((one) => one.id);
  const same = own.length === ticked.length && own.every((id) => ticked.includes(id));
  const names = [...ticked, ...Object.keys(define)];
  if (!same && names.length === 0) throw new Error("Choose an objective, or write one.");
  return {
    ...(!same && { objectives: names }),
    ...(Object.keys(define).length > 0 && { define }),
  };
}
