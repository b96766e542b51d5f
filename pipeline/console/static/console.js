// Swaps the live parts of a page as the server sends them. Everything else is links and forms, which need no script.

const main = document.querySelector("[data-live]");
let source = null;

// Whoever is at a form, or has one open, keeps it: what is in their hands is not swapped away.
function isInUse(element) {
  return element.contains(document.activeElement) || element.querySelector("details[open]") !== null;
}

function swap(parts) {
  for (const [id, html] of Object.entries(parts)) {
    const element = document.getElementById(id);
    if (element !== null && !isInUse(element)) {
      element.innerHTML = html;
    }
  }
}

function listen() {
  source = new EventSource(main.dataset.live);
  source.onmessage = (event) => swap(JSON.parse(event.data));
}

// A page that nobody sees asks for nothing.
function follow() {
  if (document.hidden) {
    source?.close();
    source = null;
  } else if (source === null) {
    listen();
  }
}

if (main !== null) {
  document.addEventListener("visibilitychange", follow);
  follow();
}
