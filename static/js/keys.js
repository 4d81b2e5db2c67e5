// Keyboard: "/" filter, "j" and "k" rows, "g" and a letter for pages, "?" help. Nothing here is needed to use a page.
"use strict";
(() => {
  const GO_MS = 1200; // "g" waits this long for its letter
  let wentAt = -Infinity;

  const typing = (element) => element.matches("input, select, textarea, [contenteditable]");

  const links = () => [...document.querySelectorAll("[data-row] a.name")];

  function step(by) {
    const all = links();
    if (!all.length) return;
    const at = all.findIndex((link) => link.closest("[data-row]").contains(document.activeElement));
    const next = at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + by, 0), all.length - 1);
    all[next].focus();
    all[next].scrollIntoView({ block: "nearest" });
  }

  function go(letter) {
    document.querySelector(`nav a[data-go="${CSS.escape(letter)}"]`)?.click();
  }

  const ACTS = {
    "/": () => document.querySelector("[data-filter]")?.focus(),
    "j": () => step(1),
    "k": () => step(-1),
    "g": (event) => { wentAt = event.timeStamp; },
    "?": () => document.getElementById("keys")?.showModal(),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    if (document.querySelector("dialog[open]")) return;
    const went = event.timeStamp - wentAt < GO_MS;
    wentAt = -Infinity;
    if (went && /^[a-z]$/.test(event.key)) {
      event.preventDefault();
      go(event.key);
    } else if (Object.hasOwn(ACTS, event.key)) {
      event.preventDefault();
      ACTS[event.key](event);
    }
  });
})();
