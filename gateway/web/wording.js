// Verdicts, reasons, numbers and times in words. Pure.

export const VERDICTS = {
  corrected: "Corrected",
  unchanged: "Unchanged",
  kept_original: "Draft kept",
  skipped: "Not corrected",
  failed: "Corrector failed",
};

const REASONS = {
  rewritten: "the corrector rewrote the draft",
  already_aligned: "the corrector had nothing to change",
  empty: "it was empty",
  cut_off: "it broke off before its end",
  looping: "it repeated itself in a loop",
  template_leak: "it held pieces of the corrector's own prompt",
  too_short: "it left out too much of the draft",
  too_long: "it was much longer than the draft",
  other_script: "it was written in another script than the draft",
  protected_span_lost: "code, a link or a formula had got lost in it",
  mode_off: "the request turned correction off",
  shadow: "the correction was made and recorded, but the draft was sent",
  structured_output: "the answer is structured output, which a rewriting would break",
  audio_output: "the answer is audio",
  no_objectives: "no objective applies",
  no_corrector: "this policy has no corrector",
  tool_calls: "the answer is a call of tools",
  empty_draft: "the policy wrote nothing",
  nothing_to_correct: "the draft holds nothing that may be changed",
  corrector_timeout: "the corrector took too long",
  corrector_unavailable: "the corrector did not answer",
  draft_too_long: "the draft was too long to be corrected",
};

const SENTENCES = {
  kept_original: (why) => `The gate refused the correction, and the draft was sent: ${why}.`,
  failed: (why) => `The draft was sent as it was: ${why}.`,
};

/** A reason's words: several reasons stand with commas between them, and what parts of an answer add after a `;`. */
export function reasonInWords(reason) {
  const [causes, ...more] = (reason ?? "").split(";");
  const words = causes.split(",").map((cause) => REASONS[cause.trim()] ?? cause.trim().replaceAll("_", " "));
  return [words.join(", and "), ...more.map((text) => text.trim())].join("; ");
}

/** Of a request that failed there is no verdict: `-`. */
export const verdictInWords = (verdict) => (verdict === "-" ? "No answer" : (VERDICTS[verdict] ?? verdict));

/** One sentence that says what became of the draft, and why. */
export function explained(verdict, reason) {
  const why = reasonInWords(reason);
  if (!why) return "";
  return SENTENCES[verdict]?.(why) ?? `${why[0].toUpperCase()}${why.slice(1)}.`;
}

export const percent = (share) =>
  share === null || share === undefined ? "–" : `${formatted(share * 100, share > 0 && share < 0.1 ? 1 : 0)}%`;

/** Milliseconds as a person reads them. */
export function duration(ms) {
  if (ms === null || ms === undefined || Number.isNaN(ms)) return "–";
  if (ms < 1) return `${formatted(ms, 2)} ms`;
  if (ms < 1000) return `${formatted(ms, ms < 10 ? 1 : 0)} ms`;
  return `${formatted(ms / 1000, ms < 10_000 ? 2 : 1)} s`;
}

export function formatted(number, digits = 0) {
  return number.toLocaleString("en", { minimumFractionDigits: 0, maximumFractionDigits: digits });
}

/** A time of the gateway, seconds since 1970 or ISO 8601, in the reader's own zone. */
export function moment(value) {
  if (value === null || value === undefined) return "–";
  const date = new Date(typeof value === "number" ? value * 1000 : value);
  const pad = (number) => String(number).padStart(2, "0");
  const day = `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
  return `${day} ${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
}

export const counted = (number, one, many = `${one}s`) => `${formatted(number)} ${number === 1 ? one : many}`;
