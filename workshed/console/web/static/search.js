// Continues a search by itself while its page is visible, one look at a time.
"use strict";

const LOOK_PAUSE_MS = 100;
const MOST_ROWS = 50; // as many as a page has

const isFirstPage = !new URLSearchParams(location.search).has("before");

let looking = null;
let isStopped = false;

// What the page says about the search, and the address of its next look.
function searchPart() {
  return document.getElementById("search");
}

function countRows() {
  return document.querySelectorAll("#results tbody tr").length;
}

function hasEnded() {
  return !searchPart().dataset.next || countRows() >= MOST_ROWS;
}

async function lookFurther() {
  if (looking || isStopped || document.hidden || hasEnded()) return;
  looking = new AbortController();
  try {
    const { signal } = looking;
    const { next } = searchPart().dataset;
    const answer = await fetch(next, { headers: { accept: "text/html" }, signal });
    if (answer.redirected) location.reload(); // leads to the login, and back
    else if (answer.ok) addLook(await answer.text());
    else stopSearching(`The console answered ${answer.status}.`);
  } catch (error) {
    if (error.name !== "AbortError") stopSearching("The console does not answer.");
  }
  looking = null;
  showProgress();
  setTimeout(lookFurther, LOOK_PAUSE_MS);
}

// Adds what a later look has found to the page.
function addLook(html) {
  const found = new DOMParser().parseFromString(html, "text/html");
  const body = document.querySelector("#results tbody");
  if (body) body.append(...found.querySelectorAll("#results tbody tr"));
  else document.getElementById("results").replaceWith(found.getElementById("results"));
  searchPart().replaceWith(found.getElementById("search"));
  if (isFirstPage) searchPart().querySelector(".pager a:not([rel])")?.remove();
  prepare(main);
}

const searchToggle = document.createElement("button");
const searchStatus = document.createElement("p");
searchToggle.type = "button";
searchStatus.setAttribute("role", "status");

function stopSearching(why) {
  isStopped = true;
  searchStatus.textContent = why;
}

function showProgress() {
  searchToggle.textContent = isStopped ? "Continue searching" : "Stop searching";
  if (!hasEnded()) return;
  searchToggle.remove();
  // The words of the page are spoken only if they come into the status.
  const words = searchPart().dataset.next ? null : searchPart().querySelector("p.quiet");
  searchStatus.textContent = words?.textContent ?? "The search has ended.";
  words?.remove();
}

searchToggle.addEventListener("click", () => {
  isStopped = !isStopped;
  searchStatus.textContent = "";
  if (isStopped) looking?.abort();
  showProgress();
  lookFurther();
});

if (searchPart()?.dataset.next) {
  searchPart().after(searchToggle, searchStatus);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) looking?.abort();
    else lookFurther();
  });
  addEventListener("pagehide", () => looking?.abort());
  showProgress();
  lookFurther();
}
