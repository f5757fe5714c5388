// Follows the changes of a page for as long as it is visible, and says how old it is.
"use strict";

const SILENT_MS = 45_000; // the server sends something every 15 s
const LONGEST_PAUSE_MS = 30_000;
const DAY_MS = 86_400_000;
const address = main.dataset.live;

let source = null;
let token = document.querySelector("nav input[name=csrf]").value;
let lines = [];
let version = 0;
let failures = 0;
let reopening = null;
let freshAt = Date.now();
let heardAt = Date.now();
let isPressed = false;
let isWaiting = false;

// Screen readers speak each change of it, so it is changed only if the words differ.
function say(text, state) {
  if (label.textContent !== text) label.textContent = text;
  if (label.dataset.state !== state) label.dataset.state = state;
}

function sayStale(why) {
  const at = new Date(freshAt);
  const text = isLocal ? formatLocal(at) : formatUtc(at);
  const since = Date.now() - freshAt < DAY_MS ? text.slice("2027-01-31 ".length) : text;
  say(`${why} Stale since ${since}.`, "stale");
}

function sayLive() {
  if (isWaiting) return;
  freshAt = Date.now();
  failures = 0;
  say("live", "live");
}

// The versions that a server sends have no tokens.
function fillTokens(within) {
  for (const field of within.querySelectorAll("input[name=csrf]")) {
    field.setAttribute("value", token);
  }
}

// Changes a version as the page was changed, so that only what differs is written.
function complete(version) {
  fillTokens(version);
  localise(version);
}

// While a button is down, a click has begun, which must end on the element that it began on.
function show() {
  isWaiting = isPressed;
  if (isPressed) return;
  morph(changing, lines.join("\n"), complete);
  prepare(changing);
  sayLive();
}

function press(event) {
  isPressed = event.isPrimary && event.button === 0;
}

function release() {
  isPressed = false;
  setTimeout(() => isWaiting && show(), 50); // the click comes after it
}

document.addEventListener("pointerdown", press, true);
for (const type of ["pointerup", "pointercancel", "contextmenu", "dragend", "visibilitychange"]) {
  document.addEventListener(type, release, true);
}
window.addEventListener("blur", release);

const HANDLERS = {
  token(event) {
    token = event.data;
    fillTokens(document);
  },
  page(event) {
    version = Number(event.lastEventId);
    lines = event.data.split("\n");
    show();
  },
  change(event) {
    version += 1;
    if (version !== Number(event.lastEventId)) {
      reopen();
      return;
    }
    for (const [from, to, added] of JSON.parse(event.data)) lines.splice(from, to - from, ...added);
    show();
  },
  beat: sayLive,
  away(event) { sayStale(event.data); },
  gone(event) {
    rest();
    say(event.data, "stale");
  },
};

function follow() {
  if (!address || source || reopening) return;
  heardAt = Date.now();
  if (heardAt - freshAt > SILENT_MS) sayStale("Connecting.");
  source = new EventSource(address);
  for (const [type, handle] of Object.entries(HANDLERS)) {
    source.addEventListener(type, (event) => {
      heardAt = Date.now();
      handle(event);
    });
  }
  source.addEventListener("error", reopen);
}

// The browser would give up after an answer such as 503, which a proxy sends while it is restarted.
function reopen() {
  source?.close();
  source = null;
  if (reopening) return;
  sayStale("Not connected.");
  const pause = Math.min(1000 * 2 ** failures, LONGEST_PAUSE_MS) * (0.5 + Math.random());
  failures += 1;
  reopening = setTimeout(async () => {
    const [status, reason] = await askForRefusal();
    reopening = null;
    if (status === 401) location.reload(); // leads to the login, and back
    else if (document.hidden) return;
    else if (reason === null) follow();
    else {
      reopen();
      sayStale(reason);
    }
  }, pause);
}

// Returns the status and the reason for which the server would refuse a stream; the reason is `null`
// if it would not. This address has no page, so an answer of 404 refuses nothing.
async function askForRefusal() {
  try {
    const headers = { accept: "application/json" };
    const answer = await fetch(`${base}/live?of=/none`, { headers });
    if (answer.status === 404) return [404, null];
    return [answer.status, (await answer.json()).error];
  } catch {
    return [0, "Not connected."];
  }
}

function rest() {
  source?.close();
  source = null;
  clearTimeout(reopening);
  reopening = null;
}

// A hidden page closes its stream.
document.addEventListener("visibilitychange", () => (document.hidden ? rest() : follow()));
setInterval(() => {
  if (source && Date.now() - heardAt > SILENT_MS) reopen();
}, 5000);

if (!document.hidden) follow();
