// Changes the elements of a page to those of a new version of it. What the user has focused, opened,
// ticked or typed stays where it was, because an element of both versions is kept. Two elements are
// the same if they have the same `data-id`, `id` or `aria-label`, or else the same tag, class and
// number among those of their parent.
"use strict";

// The user decides these, and the scripts.
const NOT_COPIED = new Set(["open", "hidden"]);

// `complete` changes the new version before it is shown.
function morph(element, html, complete) {
  const template = document.createElement("template");
  template.innerHTML = html;
  complete?.(template.content);
  const focused = document.activeElement;
  morphChildren(element, template.content);
  // Moving an element takes the focus from it.
  if (focused !== document.activeElement && element.contains(focused)) {
    focused.focus({ preventScroll: true });
  }
}

function morphElement(element, wanted) {
  // Scripts write the text of a time.
  if (element.nodeName === "TIME" && element.dateTime === wanted.dateTime) return;
  for (const { name, value } of wanted.attributes) {
    if (!NOT_COPIED.has(name) && element.getAttribute(name) !== value) {
      element.setAttribute(name, value);
    }
  }
  for (const { name } of [...element.attributes]) {
    if (!NOT_COPIED.has(name) && !wanted.hasAttribute(name)) element.removeAttribute(name);
  }
  morphChildren(element, wanted);
}

function morphChildren(parent, wantedParent) {
  const wantedKeys = keysOf(wantedParent);
  const all = new Set(wantedKeys.values());
  const known = new Map();
  for (const [child, key] of keysOf(parent)) {
    if (all.has(key)) known.set(key, child);
    else child.remove();
  }
  let at = parent.firstChild;
  for (const wanted of [...wantedParent.childNodes]) {
    while (at && isAdded(at)) at = at.nextSibling;
    const same = known.get(wantedKeys.get(wanted));
    if (same) {
      while (at && at !== same && !isElement(at)) at = removeAndGetNext(at);
      if (at === same) at = at.nextSibling;
      else parent.insertBefore(same, at);
      morphElement(same, wanted);
    } else if (!isElement(wanted) && at?.nodeType === wanted.nodeType) {
      if (at.data !== wanted.data) at.data = wanted.data;
      at = at.nextSibling;
    } else {
      parent.insertBefore(wanted, at);
    }
  }
  while (at) at = removeAndGetNext(at);
}

// Returns what identifies each child element among its siblings.
function keysOf(parent) {
  const keys = new Map();
  const counts = new Map();
  for (const child of parent.children) {
    if (isAdded(child)) continue;
    // Not `child.id`, which is a field of that name in a form.
    const own = child.dataset.id || child.getAttribute("id") || child.getAttribute("aria-label");
    const key = `${child.nodeName} ${own ? `=${own}` : child.getAttribute("class")}`;
    const count = counts.get(key) ?? 0;
    counts.set(key, count + 1);
    keys.set(child, `${key} ${count}`);
  }
  return keys;
}

function removeAndGetNext(node) {
  const next = node.nextSibling;
  if (!isAdded(node)) node.remove();
  return next;
}

function isElement(node) {
  return node.nodeType === Node.ELEMENT_NODE;
}

// Whether a script has added it, so that no version of the page has it.
function isAdded(node) {
  return node.dataset?.added !== undefined;
}
