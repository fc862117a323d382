"use strict";
// The page reads well without this; it adds the node's real address, copying, and finding.
for (const code of document.querySelectorAll(".try code")) {
  if (location.protocol.startsWith("http")) {
    code.textContent = code.textContent.replaceAll("http://127.0.0.1:7002", location.origin);
  }
  const button = code.closest(".try").querySelector("button");
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      // Browsers give the clipboard to secure pages only: select the line, so that one key copies it.
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}
const find = document.getElementById("find");
find.hidden = false;
find.addEventListener("input", () => {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const article of document.querySelectorAll("article")) {
    const text = article.querySelector("header").textContent + article.querySelector("h3").textContent;
    const hit = words.every((word) => text.toLowerCase().includes(word));
    article.hidden = !hit;
    document.querySelector(`nav a[href="#${article.id}"]`).parentElement.hidden = !hit;
  }
});
