"use strict";

// Parts of the page that are in progress are fetched again and replaced until they are done.
const SHORT_MS = 400;
const LONG_MS = 10_000;
let pauseMs = SHORT_MS;
let isAway = false;

const say = (text) => (document.getElementById("said").textContent = text);

const moving = () => [...document.querySelectorAll("[data-moving]")];

const later = () => moving().length && setTimeout(look, pauseMs);

async function look() {
  try {
    const answer = await fetch(`./${location.search}`);
    if (answer.ok) show(new DOMParser().parseFromString(await answer.text(), "text/html"));
    else away("The shop cannot be reached just now …");
  } catch {
    away("Connecting again …");
  }
  later();
}

function show(page) {
  const before = moving().map((part) => part.textContent);
  if (isAway) say("");
  for (const old of moving()) {
    const fresh = page.getElementById(old.id);
    if (!fresh) {
      old.removeAttribute("data-moving");
      say("You are signed out. Reload the page.");
      continue;
    }
    old.toggleAttribute("data-moving", fresh.hasAttribute("data-moving"));
    old.replaceChildren(...fresh.childNodes);
    if (!old.hasAttribute("data-moving")) say(old.querySelector(".outcome")?.textContent ?? "");
  }
  const stands = !isAway && String(before) === String(moving().map((part) => part.textContent));
  isAway = false;
  pauseMs = stands ? Math.min(1.2 * pauseMs, LONG_MS) : SHORT_MS;
}

function away(text) {
  isAway = true;
  pauseMs = Math.min(2 * pauseMs, LONG_MS);
  say(text);
}

later();
