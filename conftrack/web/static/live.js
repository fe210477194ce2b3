"use strict";
// Puts the parts of the page that the server pushes in their places. When nothing comes any more, the page says so by
// itself: a dead server must not leave old figures looking live.

(() => {
  const LOST_AFTER = 10_000; // milliseconds; the server sends something every two seconds
  const page = document.documentElement;
  const banner = document.getElementById("lost");
  let source;
  let heard = Date.now();
  let tried;

  function connect() {
    source?.close();
    tried = Date.now();
    source = new EventSource(page.dataset.events);
    source.addEventListener("hello", (event) => {
      if (event.data !== page.dataset.version) location.reload(); // the server was upgraded
    });
    source.addEventListener("part", (event) => {
      heard = Date.now();
      replace(event.data);
      found();
    });
  }

  function replace(html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    const part = template.content.firstElementChild;
    const old = document.getElementById(part.id);
    const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
    for (const open of old.querySelectorAll("details[open]")) {
      const same = part.querySelector(`#${CSS.escape(open.id)}`);
      if (same) same.open = true;
    }
    old.replaceWith(part);
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    if (part.dataset.at) document.getElementById("heard").textContent = part.dataset.at;
  }

  function lost() {
    banner.hidden = false;
    page.classList.add("lost");
    for (const figure of document.querySelectorAll("[data-now]")) figure.textContent = "—";
  }

  function found() {
    banner.hidden = true;
    page.classList.remove("lost");
  }

  setInterval(() => {
    // Either way: the clock of this machine may be set, and it may have slept.
    if (Math.abs(Date.now() - heard) <= LOST_AFTER) return;
    lost();
    // A connection may hang without ever failing; and a new one brings every part of the page again.
    if (Math.abs(Date.now() - tried) > LOST_AFTER) connect();
  }, 1000);

  connect();
})();
