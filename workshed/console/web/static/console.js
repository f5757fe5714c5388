// Optional extras: times, copy buttons and keyboard shortcuts. Every page works without it.
"use strict";

const main = document.getElementById("main");
const changing = document.getElementById("changing");
const label = document.getElementById("link");
const base = document.querySelector("header .name").getAttribute("href").replace(/\/$/, "");

// The server's clock minus this one, because the server judges what is over.
const skew = Date.parse(main.dataset.now) - Date.now();
const UNITS = [["d", 86_400], ["h", 3_600], ["m", 60]];

// Formats a span as the server does: 8s, 90m, 2d.
function formatSpan(milliseconds) {
  const seconds = Math.round(Math.abs(milliseconds) / 1000);
  for (const [unit, size] of UNITS) {
    const count = seconds / size;
    if (Math.abs(count - 1) <= 0.05 || count >= 1.95) return `${Math.round(count)}${unit}`;
  }
  return `${seconds}s`;
}

function formatTick(time) {
  const age = Date.now() + skew - Date.parse(time.dateTime);
  if (time.dataset.tick === "age") return formatSpan(age);
  return age < 0 ? `in ${formatSpan(age)}` : `${formatSpan(age)} ago`;
}

// Keeps relative times right.
function tick() {
  for (const time of main.querySelectorAll("time[data-tick]")) {
    const text = formatTick(time);
    if (time.textContent !== text) time.textContent = text;
  }
}

// Adds each time in the reader's time zone; the server writes UTC.
function localise(within) {
  for (const time of within.querySelectorAll("time[datetime]:not([data-localised])")) {
    const at = new Date(time.dateTime);
    if (!Number.isNaN(at.valueOf())) {
      time.title = `${at.toLocaleString(undefined, { timeZoneName: "short" })} (${time.title})`;
      time.dataset.localised = "";
    }
  }
}

// Adds buttons that copy the text before them.
function offerCopies(within) {
  if (!navigator.clipboard) return;
  for (const place of within.querySelectorAll("[data-copy]")) {
    if (place.nextElementSibling?.dataset.added !== undefined) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.dataset.added = "";
    button.setAttribute("aria-label", `Copy ${place.dataset.copy}`);
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(place.textContent);
      button.textContent = "Copied";
    });
    place.after(button);
  }
}

// Shows a box in the head of a list that ticks all boxes of its form.
function offerAll(within) {
  for (const all of within.querySelectorAll("input[data-all][hidden]")) {
    all.hidden = false;
    all.addEventListener("change", () => {
      for (const box of all.form.querySelectorAll("input[type=checkbox]:not([data-all])")) {
        box.checked = all.checked;
      }
    });
  }
}

// Completes the elements of a page; may be called again when some of them have changed.
function prepare(within) {
  tick();
  localise(within);
  offerCopies(within);
  offerAll(within);
}

// Keyboard shortcuts, unless they are disabled or the user is typing.
const dialog = document.getElementById("keys");
const isOn = document.getElementById("keys-on");
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

prepare(main);
setInterval(() => document.hidden || tick(), 1000);
document.addEventListener("visibilitychange", () => document.hidden || tick());

// The message about an action belongs to its answer, not to the address.
const here = new URL(location.href);
if (here.searchParams.has("done")) {
  here.searchParams.delete("done");
  history.replaceState(null, "", here);
}
