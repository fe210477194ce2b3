"use strict";
// Puts a text of the page where the operator's next paste takes it from.

for (const button of document.querySelectorAll("button[data-copy]")) {
  button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(text.textContent.trim()); // only browsers on https or localhost have it
    } catch {
      const range = document.createRange();
      range.selectNodeContents(text);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      if (!document.execCommand("copy")) return; // it stays selected, to be copied by hand
    }
    button.textContent = button.dataset.done;
  });
}
