// What the gateway does now, drawn from its own metrics, of which it is asked only while somebody looks.
import { admin } from "./api.js";
import { counts, sparkline } from "./charts.js";
import { el, field, notice, options, table } from "./dom.js";
import { histogramSince, lastMinutes, quantile, restarted, shareChanged, since } from "./figures.js";
import { VERDICTS, counted, duration, formatted, moment, percent, verdictInWords } from "./wording.js";

const EVERY_MS = 2000;
const KEPT = 450; // a quarter of an hour
const PHASES = {
  policy_ttft: "Policy, first token",
  policy: "Policy, whole",
  corrector_queue: "Corrector wait",
  corrector_ttft: "Corrector, first token",
  corrector: "Corrector, whole",
  overhead: "Gateway's own",
};

let samples = [];
let opened = null; // the first of them, however long ago
let timer = null;
let showing = null;

export async function showLive(body) {
  clearTimeout(timer);
  const period = el(
    "select",
    { id: "live-period" },
    options([
      ["start", "since the gateway started"],
      ["opened", "since this page was opened"],
      ["minute", "of the last minute"],
    ]),
  );
  const figures = el("div", { id: "figures", class: "figures" });
  const failure = el("p", { class: "error", role: "alert", hidden: true });
  period.addEventListener("change", () => samples.length && draw());
  showing = { figures, failure, draw };
  function draw() {
    figures.replaceChildren(..._figures(samples, period.value));
  }
  await sample();
  body.replaceChildren(el("div", { class: "narrow" }, field("Figures", period)), failure, figures);
  draw();
  next();
}

export function hideLive() {
  clearTimeout(timer);
  showing = null;
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  if (!document.hidden && showing) poll();
});

function next() {
  clearTimeout(timer);
  if (showing && !document.hidden) timer = setTimeout(poll, EVERY_MS);
}

async function poll() {
  const asking = showing;
  if (!asking) return;
  try {
    await sample();
    asking.failure.hidden = true;
    asking.draw();
  } catch (error) {
    // The figures that were there stay: they are the last ones known.
    if (asking.failure.textContent !== error.message) asking.failure.textContent = error.message;
    asking.failure.hidden = false;
  }
  next();
}

async function sample() {
  const now = await admin.get("console/api/live");
  if (samples.length && restarted(samples.at(-1), now)) samples = [];
  if (!samples.length) opened = now;
  samples.push(now);
  samples = samples.slice(-KEPT);
}

function _baseline(seen, period) {
  if (period === "start") return null;
  if (period === "opened") return opened;
  return seen.find((one) => one.time >= seen.at(-1).time - 60);
}

function _figures(seen, period) {
  const now = seen.at(-1);
  const before = _baseline(seen, period);
  const verdicts = since(now.verdicts, before?.verdicts);
  const minutes = lastMinutes(seen);
  return [
    _traffic(now, minutes),
    _panel(
      _verdicts("Verdicts", verdicts),
      el(
        "p",
        {},
        "Of what a corrector has seen it changed ",
        el("b", { id: "share-changed" }, percent(shareChanged(verdicts))),
        ".",
      ),
    ),
    Object.keys(now.shadow ?? {}).length
      ? _panel(_verdicts("Made in shadow, not sent", since(now.shadow, before?.shadow)))
      : null,
    _panel(_latency(now.latency, before?.latency)),
    _panel(_engines(now.engines)),
    _panel(..._reloads(now.reloads)),
    _panel(_statuses(since(now.statuses ?? {}, before?.statuses)), _trail(now.audit)),
  ].filter(Boolean);
}

const _panel = (...content) => el("section", { class: "panel" }, content);

function _traffic({ requests, in_flight }, minutes) {
  const current = minutes.at(-1);
  return el(
    "section",
    { class: "panel wide", "aria-labelledby": "traffic-title" },
    el("h2", { id: "traffic-title" }, "Requests a minute"),
    el(
      "p",
      {},
      el("b", { class: "big", id: "per-minute" }, formatted(current)),
      ` in the last minute, ${formatted(in_flight)} in flight, `,
      el("span", { id: "requests" }, formatted(requests)),
      " since the start",
    ),
    sparkline(minutes, `Requests of the last minute, over time: at most ${formatted(Math.max(...minutes))}`),
  );
}

function _verdicts(caption, seen) {
  const others = Object.keys(seen).filter((name) => !(name in VERDICTS) && seen[name]);
  return counts(
    caption,
    [...Object.keys(VERDICTS), ...others].map((name) => [name, verdictInWords(name), seen[name] ?? 0]),
  );
}

function _latency(now, before) {
  const rows = Object.entries(PHASES)
    .filter(([phase]) => now[phase])
    .map(([phase, name]) => {
      const histogram = histogramSince(now[phase], before?.[phase]);
      const at = (q) => {
        const seconds = quantile(q, histogram);
        return seconds === null ? "–" : duration(seconds * 1000);
      };
      return [name, at(0.5), at(0.95), formatted(histogram.count)];
    });
  return table("Latency", ["Phase", "p50", "p95", "Answers"], rows);
}

function _engines(engines) {
  const rows = Object.entries(engines).map(([name, state]) => [
    name,
    el("span", { class: "state", "data-state": state }, state),
  ]);
  return rows.length ? table("Engines", ["Engine", "State"], rows) : notice("No engine runs here.", "hint");
}

function _reloads({ applied, rejected, last }) {
  const told = (one) => (one.error ? el("pre", {}, one.error) : _changes(one.changed));
  const newestFirst = last.toReversed();
  const items = newestFirst.map((one) => el("li", {}, `${moment(one.time)} `, el("b", {}, one.result), " ", told(one)));
  return [
    el("h2", {}, "Reloads"),
    el("p", {}, `${formatted(applied)} applied, ${formatted(rejected)} rejected since the start.`),
    items.length > 0 && el("ul", { class: "reloads" }, items),
  ];
}

/** What a reload changed, `{objectives: {changed: [names], added: [names]}}`, in words. */
function _changes(changed) {
  const kinds = (names) => Object.entries(names).map(([kind, ones]) => `${kind} ${ones.join(", ")}`);
  const said = Object.entries(changed).map(([section, names]) => `${section}: ${kinds(names).join(", ")}`);
  return el("span", {}, said.join("; ") || "nothing that counts");
}

function _statuses(statuses) {
  const rows = Object.entries(statuses)
    .filter(([, count]) => count)
    .map(([status, count]) => [status, formatted(count)]);
  return rows.length ? table("Statuses", ["Status", "Requests"], rows) : notice("No request yet.", "hint");
}

function _trail({ written, dropped, queued }) {
  return el(
    "p",
    {},
    `Audit trail: ${counted(written, "row")} written, ${formatted(queued)} waiting, `,
    el(dropped ? "b" : "span", {}, `${formatted(dropped)} dropped`),
    ".",
  );
}
