"use strict";

const list = document.getElementById("pictures");
const form = document.getElementById("upload");
const SHORT_MS = 1_000;
const LONG_MS = 60_000;
let seen = Number(list.dataset.number);
let pauseMs = SHORT_MS;

const say = (text) => (document.getElementById("said").textContent = text);

function link(state, text) {
  const place = document.getElementById("link");
  place.dataset.state = state;
  place.textContent = text;
}

// Replace the list with the server's current one. If newer events have arrived since, load it
// again: replacing the list would lose the events that the old one already showed.
async function refresh() {
  const answer = await fetch("./");
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById("pictures");
  if (Number(fresh.dataset.number) < seen) return refresh();
  list.replaceChildren(...fresh.children);
}

const shown = {
  image_processed(place, alt, { variant, width, height }) {
    const src = `contents/${variant}`;
    place.querySelectorAll("p").forEach((text) => text.remove());
    if (![...place.children].some((image) => image.getAttribute("src") === src))
      place.append(Object.assign(document.createElement("img"), { width, height, alt, src }));
    return `${alt} is ready.`;
  },
  image_refused(place, name, { reason }) {
    const text = Object.assign(document.createElement("p"), { className: "refusal" });
    text.append(document.createElement("strong"), reason);
    text.firstChild.textContent = "No picture";
    place.replaceChildren(text);
    return `No picture can be made of ${name}: ${reason}`;
  },
};

function hear(event) {
  seen = Number(event.lastEventId);
  const data = JSON.parse(event.data);
  const item = document.getElementById(`picture-${data.attachment_id}`);
  if (item) say(shown[event.type](item.querySelector(".shown"), item.dataset.name, data));
  else if (form) refresh().catch(() => {}); // it was uploaded in another window
}

function follow() {
  const source = new EventSource(`events?after=${seen}`);
  for (const name in shown) source.addEventListener(name, hear);
  source.addEventListener("expired", () => (source.close(), end()));
  source.onopen = () => ((pauseMs = SHORT_MS), link("on", "Live"));
  source.onerror = () => {
    link("off", "Connecting again …");
    // A browser reconnects by itself, but not after an answer that is not a stream.
    if (source.readyState === EventSource.CLOSED) setTimeout(again, pauseMs);
  };
}

async function again() {
  pauseMs = Math.min(2 * pauseMs, LONG_MS);
  const answer = await fetch("./", { method: "HEAD" }).catch(() => null);
  answer?.status === 401 ? end() : follow();
}

const end = () => link("over", "This page has expired. Open a new link to it.");

async function upload(file) {
  if (file.size > form.dataset.maxBytes) return `larger than ${form.dataset.maxSize}.`;
  const headers = { "X-Filename": encodeURIComponent(file.name) };
  const answer = await fetch("attachments", { method: "POST", body: file, headers });
  return answer.ok ? "" : answer.text();
}

form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const problems = [];
  for (const file of document.getElementById("files").files) {
    say(`Uploading ${file.name} …`);
    const problem = await upload(file).catch(() => "the connection was lost. Try again.");
    if (problem) problems.push(`${file.name}: ${problem}`);
  }
  form.reset();
  say(problems.join(" ") || "Stored. Each picture appears here as soon as it is ready.");
  await refresh().catch(() => {});
});

// Enabled only now, because without this script the form would send what the server refuses.
if (form) form.querySelector("button").disabled = false;
follow();
