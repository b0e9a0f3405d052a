// The playground: a question, its draft, its correction. Knows the form and the course of one request.
import { ApiError, address, events, tenant, tenantKey } from "./api.js";
import { createAnswer } from "./answer.js";
import { createComparison } from "./compare.js";
import { byId, options, reveal } from "./dom.js";
import { createPicker } from "./picker.js";
import { chatBody, messages } from "./request.js";
import { LANGUAGES } from "./snippets.js";
import { explained, verdictInWords } from "./wording.js";

const REMEMBERED = 5;

// What this page has shown, newest first: a new sentence is tried on it where the trail keeps no texts.
export const answersShown = [];

let catalogue = null;
let picker = null;
let running = null;

export function setUp() {
  const form = byId("ask");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      form.requestSubmit(byId("send"));
    }
  });
  byId("stop").addEventListener("click", () => running?.abort());
  byId("tenant-key").value = tenantKey.get();
  byId("tenant-key").addEventListener("change", (event) => {
    tenantKey.set(event.target.value.trim());
    load();
  });
  for (const button of document.querySelectorAll("[data-language]")) {
    button.addEventListener("click", () => copy(button.dataset.language, button.textContent.replace("Copy as ", "")));
  }
}

/** What the tenant of the key may choose. */
export async function load() {
  told(null);
  try {
    const [models, objectives] = await Promise.all([tenant.get("v1/models"), tenant.get("v1/objectives")]);
    const chosen = byId("policy").value;
    byId("policy").replaceChildren(...options(models.data.map((model) => model.id)));
    if (models.data.some((model) => model.id === chosen)) byId("policy").value = chosen;
    catalogue = objectives;
    picker = createPicker("ask", "Objectives", catalogue);
    byId("picker").replaceChildren(picker.element);
    byId("tenant-name").textContent = `You ask as the tenant ${catalogue.tenant}. ${_limits(catalogue)}`;
    byId("send").disabled = false;
  } catch (error) {
    catalogue = null;
    byId("send").disabled = true;
    if (error instanceof ApiError && error.status === 401) byId("key-details").open = true;
    told(error);
  }
}

function _limits({ may, audit }) {
  const said = [];
  if (!may.draft) said.push("It is not shown drafts.");
  if (!may.define) said.push("It may not write objectives of its own.");
  said.push(
    { off: "Its answers are not recorded.", metadata: "What it asks is recorded without texts." }[audit] ??
      "Its questions and answers are recorded.",
  );
  return said.join(" ");
}

function bodyOfTheForm() {
  return chatBody({
    model: byId("policy").value,
    system: byId("system").value.trim(),
    question: byId("question").value.trim(),
    maxTokens: byId("max-tokens").valueAsNumber,
    temperature: byId("temperature").valueAsNumber,
    mode: byId("mode").value,
    wish: picker.wish(),
    showDraft: catalogue.may.draft,
  });
}

async function ask() {
  if (running || !catalogue) return;
  told(null);
  let body;
  try {
    body = bodyOfTheForm();
  } catch (missing) {
    told(missing);
    return;
  }
  const answer = createAnswer({ showDraft: catalogue.may.draft });
  byId("answer").replaceChildren(answer.element);
  reveal(byId("result"));
  running = new AbortController();
  busy(true);
  progress("Asking the policy…");
  try {
    await follow(body, answer, running.signal);
  } catch (error) {
    answer.broken();
    progress(error.name === "AbortError" ? "Stopped." : "");
    if (error.name !== "AbortError") told(error);
  } finally {
    running = null;
    busy(false);
  }
}

/** One request from its sending to its last word. */
async function follow(body, answer, signal) {
  const response = await tenant.stream("v1/chat/completions", body, signal);
  let align = _alignOf(response.headers);
  let usage = null;
  let text = "";
  for await (const event of events(response)) {
    const choice = event.choices?.[0];
    if (event.align && !choice) {
      if (!text) progress("The policy writes…"); // and not again between the segments of a correction
      answer.draft(event.align.draft ?? "");
    } else if (event.align) {
      align = event.align;
    }
    if (choice?.delta?.content) {
      progress("The correction comes…");
      answer.text(choice.delta.content);
      text += choice.delta.content;
    }
    usage = event.usage ?? usage;
  }
  const requestId = response.headers.get("X-Request-Id");
  progress(`${verdictInWords(align.verdict)}. ${explained(align.verdict, align.reason)}`, align.verdict);
  await answer.finish({ align, requestId, usage, canRate: catalogue.audit !== "off" });
  remember(body, text, align);
}

/** Of an answer that is relayed as it came, the verdict stands in the headers only. */
function _alignOf(headers) {
  return {
    verdict: headers.get("X-Align-Verdict") ?? "skipped",
    reason: headers.get("X-Align-Reason") ?? "",
    objectives: (headers.get("X-Align-Objectives") ?? "").split(", ").filter(Boolean).map(decodeURIComponent),
    corrector: decodeURIComponent(headers.get("X-Align-Corrector") ?? ""),
  };
}

function remember(body, text, align) {
  if (typeof align.draft !== "string") return;
  const asked = messages(body.messages.find((one) => one.role === "system")?.content, body.messages.at(-1).content);
  const { draft, verdict, objectives } = align;
  answersShown.unshift({ messages: asked, draft, correction: text, verdict, objectives, policy: body.model });
  answersShown.splice(REMEMBERED);
  byId("answer").append(createComparison(catalogue, { model: body.model, messages: asked, draft, text, align }));
}

/** The request as code, on the clipboard; and on the page, where a browser without one lets it be selected. */
async function copy(language, name) {
  told(null);
  let code;
  try {
    code = LANGUAGES[language](address("v1/chat/completions"), bodyOfTheForm(), tenantKey.get() !== "");
  } catch (missing) {
    told(missing);
    return;
  }
  byId("snippet").textContent = code;
  byId("snippet").hidden = false;
  try {
    await navigator.clipboard.writeText(code);
    byId("copied").textContent = `Copied as ${name}.`;
  } catch {
    getSelection().selectAllChildren(byId("snippet"));
    byId("copied").textContent = `This browser does not let the page copy: the ${name} code is selected below.`;
  }
}

function busy(now) {
  const [off, on] = now ? [byId("send"), byId("stop")] : [byId("stop"), byId("send")];
  // A button that is disabled while it has the focus would leave the keyboard nowhere.
  const hadFocus = document.activeElement === off;
  on.disabled = false;
  if (hadFocus) on.focus();
  off.disabled = true;
}

/** What goes on, and in the end what became of the draft: the one line that is also read out. */
function progress(text, verdict = null) {
  const node = byId("progress");
  if (node.textContent !== text) node.textContent = text;
  if (verdict) node.dataset.verdict = verdict;
  else delete node.dataset.verdict;
}

function told(error) {
  const node = byId("ask-error");
  node.hidden = !error;
  node.textContent = error ? error.message : "";
}
