// Numbers out of counters that only grow. Pure.

/** The difference of two counters by name; those that are new begin at nothing. */
export function since(now, before = {}) {
  return Object.fromEntries(Object.entries(now).map(([name, count]) => [name, count - (before[name] ?? 0)]));
}

/** A histogram less an older one of the same buckets, cumulative both. */
export function histogramSince(now, before) {
  if (!before) return now;
  const old = new Map(before.buckets.map(([le, count]) => [String(le), count]));
  const buckets = now.buckets.map(([le, count]) => [le, count - (old.get(String(le)) ?? 0)]);
  return { count: now.count - before.count, sum: now.sum - before.sum, buckets };
}

const bound = (le) => (le === null || le === "+Inf" || le === "Infinity" ? Infinity : Number(le));

/**
 * The q-quantile of a histogram of cumulative buckets, in its unit, or null of an empty one. Within a bucket
 * observations are taken to lie evenly, as Prometheus' histogram_quantile does; beyond the last bound nothing is known.
 */
export function quantile(q, { buckets }) {
  const total = buckets.length ? buckets.at(-1)[1] : 0;
  if (!total) return null;
  const rank = q * total;
  let [lower, below] = [0, 0];
  for (const [le, count] of buckets) {
    const upper = bound(le);
    if (count >= rank && count > below) {
      return upper === Infinity ? lower : lower + (upper - lower) * ((rank - below) / (count - below));
    }
    [lower, below] = [upper === Infinity ? lower : upper, count];
  }
  return lower;
}

/** Of the answers that a corrector has seen, the share that it changed; null where it has seen none. */
export function shareChanged(verdicts) {
  const of = (name) => verdicts[name] ?? 0;
  const seen = of("corrected") + of("unchanged") + of("kept_original");
  return seen ? of("corrected") / seen : null;
}

/** For every sample of `{time, requests}`, the requests of the minute before it, as far as it has been seen. */
export function lastMinutes(samples) {
  let from = 0;
  return samples.map(({ time, requests }) => {
    while (samples[from].time < time - 60) from += 1;
    return requests - samples[from].requests;
  });
}

/** Did the gateway start anew between two samples? Its counters then begin again. */
export const restarted = (before, now) => now.requests < before.requests;
