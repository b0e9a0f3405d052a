// A line and bars, drawn as nodes. What they show stands beside them in figures: to a screen reader they are pictures.
import { el, svg } from "./dom.js";
import { formatted } from "./wording.js";

const [WIDTH, HEIGHT] = [600, 80];

/** A sparkline of values, oldest first; `label` says what is to be seen. */
export function sparkline(values, label) {
  const top = Math.max(1, ...values);
  const x = (index) => (values.length < 2 ? 0 : (index / (values.length - 1)) * WIDTH);
  const y = (value) => HEIGHT - 2 - (value / top) * (HEIGHT - 8);
  const points = values.map((value, index) => `${x(index).toFixed(1)},${y(value).toFixed(1)}`);
  return svg(
    "svg",
    {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": label,
      class: "sparkline",
    },
    svg("polygon", {
      points: `0,${HEIGHT} ${points.join(" ")} ${x(values.length - 1).toFixed(1)},${HEIGHT}`,
      class: "area",
    }),
    svg("polyline", { points: points.join(" "), class: "line", "vector-effect": "non-scaling-stroke" }),
  );
}

/** Bars below a caption, `{name, bar, figure}` each; to a screen reader a list of names and figures. */
export function barList(caption, rows) {
  const items = rows.map(({ name, bar, figure }) =>
    el(
      "div",
      {},
      el("dt", {}, name),
      el("dd", { class: "track", "aria-hidden": "true" }, bar),
      el("dd", { class: "figure" }, figure),
    ),
  );
  return el("figure", { class: "bars" }, el("figcaption", {}, caption), el("dl", {}, items));
}

/** Counts as bars of their share of the whole: `[key, name, count]`. */
export function counts(caption, counted) {
  const total = counted.reduce((sum, [, , count]) => sum + count, 0);
  const rows = counted.map(([key, name, count]) => {
    const bar = el("span", { class: "bar", "data-verdict": key, hidden: count === 0 });
    bar.style.width = total ? `${(count / total) * 100}%` : "0";
    return { name, bar, figure: formatted(count) };
  });
  return barList(caption, rows);
}
