// Comfort over plain links and forms: colours, a search while somebody types, more rows of filters, values to choose.
"use strict";

const theme = document.getElementById("theme");
theme.value = document.documentElement.dataset.theme || "";
theme.closest("label").hidden = false;
theme.addEventListener("change", () => {
  if (theme.value) document.documentElement.dataset.theme = theme.value;
  else delete document.documentElement.dataset.theme;
  try { localStorage.setItem("kgrec-theme", theme.value); } catch { /* it holds for this page alone */ }
});

/** Nodes that the server answers in HTML, or null where it does not. */
async function fragment(path, params, signal) {
  try {
    const answer = await fetch(`${path}?${params}`, { signal });
    if (!answer.ok) return null;
    return new DOMParser().parseFromString(await answer.text(), "text/html").body.childNodes;
  } catch {
    return null;
  }
}

/** A function that is called once nothing has happened for a while; the signal ends the call before. */
function calm(action, milliseconds = 150) {
  let timer, last;
  return (...values) => {
    clearTimeout(timer);
    last?.abort();
    last = new AbortController();
    const { signal } = last;
    timer = setTimeout(() => action(signal, ...values), milliseconds);
  };
}

for (const input of document.querySelectorAll("[data-found]")) {
  const place = document.getElementById(input.dataset.found);
  const usersToo = input.form.getAttribute("action") === "/";
  input.addEventListener("input", calm(async (signal) => {
    const params = new URLSearchParams(new FormData(input.form));
    const nodes = await fragment("/page/found", params, signal);
    if (nodes === null || signal.aborted) return;
    place.replaceChildren(...nodes);
    if (!usersToo) place.querySelector("#found-users")?.closest("section").remove();
  }));
}

const filters = document.getElementById("filters");
if (filters) {
  const offer = calm(async (signal, row) => {
    const run = new FormData(filters.closest("form")).get("run") || "";
    const of = row.querySelector("[name=name]").value, q = row.querySelector("[name=value]").value;
    const nodes = of ? await fragment("/page/values", new URLSearchParams({ run, of, q }), signal) : [];
    if (nodes !== null && !signal.aborted) row.querySelector("datalist").replaceChildren(...nodes);
  });
  const offerFor = (event) => {
    const row = event.target.closest(".filter");
    if (row && event.target.matches("input")) offer(row);
  };
  filters.addEventListener("input", offerFor);
  filters.addEventListener("focusin", offerFor);

  const more = document.getElementById("more-filters");
  more.hidden = false;
  more.addEventListener("click", () => {
    const row = filters.lastElementChild.cloneNode(true), number = filters.children.length + 1;
    row.setAttribute("aria-label", `Filter ${number}`);
    row.querySelector("datalist").id = `values-${number}`;
    row.querySelector("[name=value]").setAttribute("list", `values-${number}`);
    for (const input of row.querySelectorAll("input")) input.value = "";
    filters.append(row);
    row.querySelector("[name=name]").focus();
  });
}
