// Keeps the moving parts of the page fresh; the switches themselves are forms and need no script.
"use strict";

async function refresh() {
  const response = await fetch("/state");
  const { cells } = await response.json();
  for (const [id, html] of Object.entries(cells)) {
    document.getElementById(id).innerHTML = html;
  }
}

setInterval(() => {
  if (!document.hidden) refresh().catch(() => document.body.classList.add("gone"));
}, 1000);
