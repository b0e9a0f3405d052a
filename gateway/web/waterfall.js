// Where a request's time went: phases out of the timings (pure), and the bars that draw them.
import { barList } from "./charts.js";
import { el } from "./dom.js";
import { duration } from "./wording.js";

const isKnown = (ms) => ms !== null && ms !== undefined;

/**
 * Phases as `{name, from, to, first}`, in ms since the request came; `first` is when its first token was there.
 * In mode `segment` the corrector begins while the policy writes, and both end together.
 */
export function phases({ policy_first, policy, corrector_queue, corrector_first_token, corrector, total }, mode) {
  const rows = [];
  if (isKnown(policy)) rows.push({ name: "Policy", from: 0, to: policy, first: policy_first ?? null });
  let end = policy ?? 0;
  if (corrector) {
    const from = mode === "segment" ? Math.max(0, total - corrector) : end;
    const begun = from + Math.min(corrector_queue ?? 0, corrector);
    const first = isKnown(corrector_first_token) ? from + corrector_first_token : null;
    end = from + corrector;
    rows.push({ name: "Corrector wait", from, to: begun, first: null });
    rows.push({ name: "Corrector", from: begun, to: end, first });
  }
  rows.push({ name: "Gateway's own", from: Math.min(end, total), to: total, first: null });
  return rows;
}

/** The phases, each with its bar; the figures stand beside them in text. */
export function waterfall(timings, mode) {
  const share = (ms) => `${Math.max(0, Math.min(100, (ms / (timings.total || 1)) * 100))}%`;
  const rows = phases(timings, mode).map(({ name, from, to, first }) => {
    const bar = el("span", { class: "bar" });
    bar.style.left = share(from);
    bar.style.width = share(to - from);
    if (first !== null && to > from) {
      // The part before the first token, in which nothing is to be read yet, is drawn paler.
      const waited = el("span", { class: "waited" });
      waited.style.width = `${Math.max(0, Math.min(100, ((first - from) / (to - from)) * 100))}%`;
      bar.append(waited);
    }
    const told = duration(to - from) + (first === null ? "" : `, first token after ${duration(first - from)}`);
    return { name, bar, figure: told };
  });
  return barList(`Timings: ${duration(timings.total)} in all`, rows);
}
