// Optional extras: live updates, copy buttons and keyboard shortcuts. Every page works without it.
"use strict";

const changing = document.getElementById("changing");
const link = document.getElementById("link");

// Adds each time in the reader's time zone; the server writes UTC.
function localise(within) {
  for (const time of within.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (!Number.isNaN(at.valueOf())) {
      time.title = `${at.toLocaleString(undefined, { timeZoneName: "short" })} (${time.title})`;
    }
  }
}

// Adds buttons that copy the text before them.
function offerCopies(within) {
  if (!navigator.clipboard) return;
  for (const place of within.querySelectorAll("[data-copy]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy ${place.dataset.copy}`);
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(place.textContent);
      button.textContent = "Copied";
    });
    place.after(" ", button);
  }
}

// Shows a box in the head of a list that ticks all boxes of its form.
function offerAll(within) {
  for (const all of within.querySelectorAll("input[data-all]")) {
    all.hidden = false;
    all.addEventListener("change", () => {
      for (const box of all.form.querySelectorAll("input[type=checkbox]:not([data-all])")) {
        box.checked = all.checked;
      }
    });
  }
}

function prepare(within) {
  localise(within);
  offerCopies(within);
  offerAll(within);
}

// Tells whether the user is typing, selecting text or ticking boxes; then the page is not replaced.
function isBusy() {
  const at = document.activeElement;
  const writes = at && changing.contains(at) && at.matches("input:not([type=checkbox]), select, textarea");
  const selected = document.getSelection();
  const reads = selected && !selected.isCollapsed && changing.contains(selected.anchorNode);
  return writes || reads || changing.querySelector("input[type=checkbox]:checked") !== null;
}

// Returns an element's tag and its index among those, to find it again after a replacement.
function place(element) {
  const like = [...changing.querySelectorAll(element.tagName)];
  return [element.tagName, like.indexOf(element)];
}

function show(html) {
  if (isBusy()) return;
  const open = [...changing.querySelectorAll("details[open]")].map(place);
  const focused = changing.contains(document.activeElement) ? place(document.activeElement) : null;
  const scrolled = [...changing.querySelectorAll(".scroll")].map((one) => one.scrollLeft);
  changing.innerHTML = html;
  for (const [tag, number] of open) {
    const found = changing.querySelectorAll(tag)[number];
    if (found) found.open = true;
  }
  changing.querySelectorAll(".scroll").forEach((one, number) => {
    one.scrollLeft = scrolled[number] || 0;
  });
  if (focused) changing.querySelectorAll(focused[0])[focused[1]]?.focus({ preventScroll: true });
  prepare(changing);
}

let source = null;

function follow() {
  const address = document.getElementById("main").dataset.live;
  if (!address || source) return;
  source = new EventSource(address);
  source.addEventListener("open", () => { link.textContent = "live"; });
  source.addEventListener("page", (event) => { link.textContent = "live"; show(event.data); });
  source.addEventListener("away", (event) => { link.textContent = event.data; });
  source.addEventListener("error", () => { link.textContent = "not connected"; });
}

function rest() {
  source?.close();
  source = null;
}

// A hidden page closes its stream.
document.addEventListener("visibilitychange", () => (document.hidden ? rest() : follow()));

// Keyboard shortcuts, unless they are disabled or the user is typing.
const dialog = document.getElementById("keys");
const isOn = document.getElementById("keys-on");
const base = document.querySelector("header .name").getAttribute("href").replace(/\/$/, "");
const PAGES = { o: "/", q: "/queues", j: "/jobs", d: "/dead", s: "/scheduled", w: "/workers" };
let leads = false;

isOn.checked = localStorage.getItem("workshed-keys") !== "off";
isOn.addEventListener("change", () => localStorage.setItem("workshed-keys", isOn.checked ? "on" : "off"));

document.addEventListener("keydown", (event) => {
  if (!isOn.checked || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.target.matches("input, select, textarea") || dialog.open) return;
  if (leads && event.key in PAGES) location.assign(base + PAGES[event.key]);
  leads = event.key === "g";
  if (event.key === "?") dialog.showModal();
  if (event.key === "/") {
    event.preventDefault();
    changing.querySelector(".filters input, .filters select")?.focus();
  }
});

prepare(document.getElementById("main"));
if (!document.hidden) follow();
