// One objective's sentence, edited: tried on answers, shown as a change of the file, and only then saved.
import { admin, events } from "./api.js";
import { diffBlock, fileDiff, summary } from "./diff.js";
import { el, field, notice, options } from "./dom.js";
import { answersShown, load } from "./playground.js";
import { explained, moment, verdictInWords } from "./wording.js";

/** `objective` is null for a new one. `saved(node)` is told what to say once the file is written. */
export function createEditor(inForce, objective, { saved, close }) {
  const key = el("input", {
    id: "edit-key",
    value: objective?.key ?? "",
    readonly: objective !== null,
    required: true,
    maxlength: 64,
    pattern: "[A-Za-z0-9][A-Za-z0-9_\\-]*",
    spellcheck: "false",
    autocomplete: "off",
  });
  const description = el("textarea", { id: "edit-description", rows: 2, required: true }, objective?.description ?? "");
  const who = el(
    "select",
    { id: "edit-tenant" },
    options([["", "all tenants"], ...inForce.tenants.map((one) => one.name)]),
  );
  const status = el("p", { class: "progress", role: "status" });
  const error = el("p", { class: "error", role: "alert", hidden: true });
  const tried = el("div", { id: "tried" });
  const change = el("div", { id: "file-change" });
  const save = el("button", { type: "button", class: "primary", disabled: true, onclick: () => store() }, "Save");
  let trying = null;

  const asked = () => ({ description: description.value.trim(), version: inForce.version });
  const path = () => `console/api/objectives/${encodeURIComponent(key.value.trim())}`;

  function tell(problem) {
    error.hidden = !problem;
    error.textContent = problem ? problem.message : "";
  }

  /** What was tried and shown holds for one sentence: another one is another change. */
  function outdated() {
    trying?.abort();
    save.disabled = true;
    tried.replaceChildren();
    change.replaceChildren();
    status.textContent = "";
    tell(null);
  }

  async function attempt(work) {
    tell(null);
    if (!form.reportValidity()) return;
    try {
      await work();
    } catch (problem) {
      status.textContent = "";
      if (problem.name !== "AbortError") tell(problem);
    }
  }

  async function tryOut() {
    trying?.abort();
    trying = new AbortController();
    tried.replaceChildren();
    status.textContent = "Correcting the last answers, before and after the change…";
    const wanted = {
      key: key.value.trim(),
      description: description.value.trim(),
      count: 3,
      ...(who.value && { tenant: who.value }),
      ...(answersShown.length && { answers: answersShown }),
    };
    const response = await admin.stream("console/api/objectives/preview", wanted, trying.signal);
    let count = 0;
    for await (const event of events(response)) {
      if (event.of === 0) break;
      count += 1;
      tried.append(_trial(event));
      status.textContent = `Tried on ${event.index + 1} of ${event.of}.`;
    }
    if (count === 0) {
      status.textContent = "";
      tried.replaceChildren(
        notice(
          "There is no answer to try it on. Ask something in the playground first, " +
            "or let a tenant's audit trail keep full texts (audit: full).",
        ),
      );
    }
  }

  async function showChange() {
    const [to, sent] = [path(), asked()];
    const { diff } = await admin.put(to, { ...sent, dry_run: true });
    if (to !== path() || sent.description !== asked().description) return; // another sentence stands there by now
    change.replaceChildren(
      el("h3", {}, "The change to the file"),
      diff ? fileDiff(diff) : notice("Nothing would change.", "hint"),
    );
    save.disabled = !diff || !inForce.writable;
  }

  async function store() {
    await attempt(async () => {
      const { diff, backup } = await admin.put(path(), { ...asked(), dry_run: false });
      load(); // the playground offers it, as it now is
      const where = backup ? [" The file as it was is kept as ", el("code", {}, backup), "."] : [];
      await saved(
        el(
          "div",
          { class: "notice done", role: "status", tabindex: "-1" },
          el("p", {}, "Saved: the next request is aligned to it.", ...where),
          fileDiff(diff),
        ),
      );
    });
  }

  description.addEventListener("input", outdated);
  key.addEventListener("input", outdated);
  const form = el(
    "form",
    {
      class: "editor",
      "aria-label": objective ? `Edit ${objective.key}` : "New objective",
      onsubmit: (event) => event.preventDefault(),
    },
    field("Key", key),
    field(
      "What the corrector reads",
      description,
      "One sentence. It is all that the corrector knows of the objective.",
    ),
    field("Try it on the answers of", who),
    error,
    el(
      "div",
      { class: "actions" },
      el("button", { type: "button", onclick: () => attempt(tryOut) }, "Try on the last answers"),
      el("button", { type: "button", onclick: () => attempt(showChange) }, "Show the change to the file"),
      save,
      el("button", { type: "button", class: "quiet", onclick: () => (trying?.abort(), close()) }, "Close"),
    ),
    status,
  );
  return el(
    "section",
    { class: "panel", "aria-labelledby": "editor-title" },
    el("h2", { id: "editor-title" }, objective ? `Edit ${objective.key}` : "New objective"),
    form,
    change,
    tried,
  );
}

/** One answer: its draft, its correction before the change and after it, and what lies between the two. */
function _trial({ index, question, time, tenant, draft, before, after, diff, changed }) {
  const from = [tenant, time && moment(time)].filter(Boolean).join(", ") || "from the playground";
  const column = (title, text, told) =>
    el(
      "div",
      { class: "pane" },
      el("h4", {}, title, told && el("small", {}, ` ${verdictInWords(told.verdict)}`)),
      el("div", { class: "text" }, text),
    );
  return el(
    "article",
    { class: "trial", "data-index": index },
    el("h3", {}, question, el("small", {}, ` ${from}`)),
    el(
      "div",
      { class: "panes three" },
      column("Draft", draft, null),
      column("Before", before.text, before),
      column("After", after.text, after),
    ),
    el(
      "p",
      { class: "hint" },
      explained(after.verdict, after.reason),
      " Before and after the change: ",
      el("b", {}, summary(diff, changed)),
    ),
    before.text === after.text ? null : diffBlock(diff),
  );
}
