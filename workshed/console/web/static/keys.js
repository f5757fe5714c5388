// Keyboard shortcuts, unless the user has turned them off or is typing.
"use strict";

const dialog = document.getElementById("keys");
const PAGES = { o: "/", q: "/queues", j: "/jobs", d: "/dead", s: "/scheduled", w: "/workers" };
const TYPING = "input:not([type=checkbox], [type=radio]), select, textarea";
const PLACE = `workshed row of ${location.pathname}`;

const LEAD_MS = 1500; // how long `g` waits for the next key

let leadsUntil = 0;
let last = null;
// The number of the row that had the focus, also before an action that led back to this page.
let place = Number(sessionStorage.getItem(PLACE) ?? -1);
sessionStorage.removeItem(PLACE);

function listRows() {
  const rows = [...changing.querySelectorAll("tbody tr")];
  return rows.filter((row) => row.querySelector("a, button"));
}

// Moves the focus by so many rows, to a link of the row: screen readers follow it, and Enter opens it.
function moveRow(step) {
  const rows = listRows();
  let next = rows.indexOf(focusedRow() ?? last);
  if (next >= 0) next += step;
  else next = place >= 0 ? place : 0; // the row is gone, and the next one has its place
  const row = rows[Math.max(0, Math.min(next, rows.length - 1))];
  row?.querySelector("a, button").focus();
}

function focusedRow() {
  return document.activeElement?.closest("#changing tbody tr");
}

function pressAction() {
  const button = focusedRow()?.querySelector("[data-key=r]");
  if (!button) return;
  sessionStorage.setItem(PLACE, listRows().indexOf(focusedRow()));
  button.click();
}

const SHORTCUTS = {
  "?": () => dialog.showModal(),
  "/": () => changing.querySelector(".filters :is(input:not([type=hidden]), select)")?.focus(),
  j: () => moveRow(1),
  k: () => moveRow(-1),
  x: () => focusedRow()?.querySelector("input[name=id]")?.click(),
  r: pressAction,
};

function handleKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.target.matches(TYPING) || dialog.open) return;
  const isSecond = event.timeStamp < leadsUntil;
  leadsUntil = event.key === "g" ? event.timeStamp + LEAD_MS : 0;
  if (isSecond && event.key in PAGES) location.assign(base + PAGES[event.key]);
  else if (event.key in SHORTCUTS && !(event.repeat && "rx".includes(event.key))) {
    event.preventDefault(); // Firefox would search for what follows `/`
    SHORTCUTS[event.key]();
  }
}

changing.addEventListener("focusin", () => {
  last = focusedRow();
  if (last) place = listRows().indexOf(last);
});
if (preferences.keys !== "off") document.addEventListener("keydown", handleKey);
