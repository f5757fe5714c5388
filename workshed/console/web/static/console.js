// Optional extras: times, copy buttons, boxes that select all. Every page works without it.
"use strict";

const main = document.getElementById("main");
const changing = document.getElementById("changing");
const label = document.getElementById("link");
const base = document.querySelector("header .name").getAttribute("href").replace(/\/$/, "");
const preferences = document.documentElement.dataset;
const isLocal = preferences.zone !== "utc";

// The server's clock minus this one, because the server judges what is over.
const skew = Date.parse(main.dataset.now) - Date.now();
const UNITS = [["d", 86_400], ["h", 3_600], ["m", 60]];
const CLOCK = {
  hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", timeZoneName: "short",
};
const DATE = { year: "numeric", month: "2-digit", day: "2-digit" };
const FORMAT = new Intl.DateTimeFormat("en-GB", { ...DATE, ...CLOCK });

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

// Formats a time as the server does, in the zone of this device: 2027-01-31 09:00:00.250 CET.
function formatLocal(at, fraction = "") {
  const { year, month, day, hour, minute, second, timeZoneName } = Object.fromEntries(
    FORMAT.formatToParts(at).map(({ type, value }) => [type, value]),
  );
  return `${year}-${month}-${day} ${hour}:${minute}:${second}${fraction} ${timeZoneName}`;
}

function formatUtc(at) {
  return `${at.toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

// Writes times in the zone of this device, and has them in UTC as their title; or the other way
// round. The server writes UTC, because all users of a role share a live page.
function localise(within) {
  for (const time of within.querySelectorAll("time[datetime]:not([data-localised])")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.valueOf())) continue;
    const utc = time.title;
    const local = formatLocal(at, utc.match(/\.\d+/)?.[0]);
    if (time.dataset.tick !== undefined) time.title = isLocal ? `${local} (${utc})` : `${utc} (${local})`;
    else if (isLocal) time.textContent = local;
    else time.title = local;
    time.dataset.localised = "";
  }
  if (!isLocal) return;
  for (const text of within.querySelectorAll("[data-clock]:not([data-localised])")) {
    const local = formatLocal(new Date(text.dataset.clock));
    text.textContent = text.textContent.replace(/(\d+-\d+-\d+ )?[\d:]+ UTC/, (_, date) =>
      date ? local : local.slice("2027-01-31 ".length));
    text.dataset.localised = "";
  }
}

// Names the zone of a field for a time, and sends the time with it.
function localiseFields() {
  if (!isLocal) return;
  for (const zone of main.querySelectorAll("[data-zone-of]")) {
    zone.textContent = Intl.DateTimeFormat().resolvedOptions().timeZone;
    zone.closest("form").addEventListener("formdata", ({ formData }) => {
      const name = zone.dataset.zoneOf;
      const at = new Date(formData.get(name));
      if (!Number.isNaN(at.valueOf())) formData.set(name, at.toISOString());
    });
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

// Shows a box that selects all rows of its form.
function offerAll(within) {
  for (const label of within.querySelectorAll("[data-all][hidden]")) {
    const all = label.querySelector("input");
    label.hidden = false;
    all.addEventListener("change", () => {
      for (const box of all.form.querySelectorAll("input[name=id]")) box.checked = all.checked;
    });
  }
}

// Completes the elements of a page; may be called again when some of them have changed.
function prepare(within) {
  localise(within);
  tick();
  offerCopies(within);
  offerAll(within);
}

prepare(main);
localiseFields();
setInterval(() => document.hidden || tick(), 1000);
document.addEventListener("visibilitychange", () => document.hidden || tick());

// The message about an action belongs to its answer, not to the address.
const here = new URL(location.href);
if (here.searchParams.has("done")) {
  here.searchParams.delete("done");
  history.replaceState(null, "", here);
}
