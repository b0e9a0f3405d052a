// The page: one view at a time, by what stands behind the # of the address.
import { aboutGateway, behindTheGate, takeKey } from "./admin.js";
import { showAudit } from "./audit.js";
import { byId } from "./dom.js";
import { hideLive, showLive } from "./live.js";
import { showObjectives } from "./objectives.js";
import * as playground from "./playground.js";

const VIEWS = {
  playground: { show: null }, // it stands in the page
  objectives: { show: (body) => behindTheGate(body, showObjectives) },
  live: { show: (body) => behindTheGate(body, showLive), hide: hideLive },
  audit: { show: (body, rest) => behindTheGate(body, (inner) => showAudit(inner, rest)) },
};

let current = null;

/** `#audit/12` is the view `audit`, told `12`. */
function route() {
  takeKey();
  const [name, rest] = location.hash.slice(1).split("/");
  // "Skip to the content" is no view. The browser has gone there by now, and whoever skips may have gone on already.
  if (current && location.hash === "#main") return;
  const chosen = Object.hasOwn(VIEWS, name) ? name : "playground";
  if (current && current !== chosen) VIEWS[current].hide?.();
  for (const view of Object.keys(VIEWS)) byId(`${view}-view`).hidden = view !== chosen;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${chosen}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const title = byId(`${chosen}-title`);
  document.title = `${title.textContent} · metaaligner`;
  // A view that is gone to is where the keyboard goes on, and what a screen reader says; the first one needs no saying.
  if (current && current !== chosen) title.focus();
  current = chosen;
  VIEWS[chosen].show?.(_empty(chosen), rest ?? "");
}

/** A view's place, made anew: what is still being fetched for the old one is drawn where nobody looks. */
function _empty(view) {
  const old = byId(`${view}-view`).querySelector(".body");
  const body = old.cloneNode(false);
  old.replaceWith(body);
  return body;
}

playground.setUp();
addEventListener("hashchange", route);
route();
playground.load();
aboutGateway().then(
  ({ version }) => (byId("version").textContent = version),
  () => {},
);
