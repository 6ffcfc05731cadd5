// Live updates: fetches new or changed incidents as HTML and puts them in place. The page also works without this.
"use strict";

const history_ = document.getElementById("history");
const badge = document.getElementById("live");
let newest = Number(history_.dataset.newest);
let queue = Promise.resolve();

function show(state) {
  badge.hidden = false;
  badge.dataset.state = state;
  badge.lastElementChild.textContent = state === "on" ? "live" : "reconnecting";
}

async function part(url) {
  const answer = await fetch(url, { headers: { accept: "text/html" } });
  if (answer.status === 401) location.assign("/login");
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  const holder = document.createElement("template");
  holder.innerHTML = await answer.text();
  return holder.content.firstElementChild;
}

function section(card) {
  let day = history_.querySelector(`.day[data-day="${card.dataset.day}"]`);
  if (day) return day;
  day = document.createElement("section");
  day.className = "day";
  day.dataset.day = card.dataset.day;
  const title = document.createElement("h2");
  title.textContent = card.dataset.dayName;
  day.append(title);
  const next = [...history_.querySelectorAll(".day")].find((d) => d.dataset.day < card.dataset.day);
  history_.insertBefore(day, next ?? null);
  return day;
}

async function incident({ mesh, root, seq }) {
  const path = `/incidents/${encodeURIComponent(mesh)}/${encodeURIComponent(root)}`;
  const card = await part(`${path}?part=card`);
  const old = history_.querySelector(`[data-key="${CSS.escape(`${mesh}/${root}`)}"]`);
  if (old) {
    const open = old.querySelector("footer details")?.open;
    old.replaceWith(card);
    if (open) card.querySelector("footer details").open = true;
  } else {
    section(card).querySelector("h2").after(card);
  }
  card.classList.add("new");
  document.getElementById("empty")?.remove();
  newest = Math.max(newest, seq);
}

async function building() {
  document.getElementById("health").replaceWith(await part("/buildings?part=strip"));
}

function enqueue(work) {
  queue = queue.then(work).catch((e) => console.error(e));
}

function watch() {
  const stream = new EventSource("/live");
  stream.onopen = () => show("on");
  stream.onerror = () => {
    show("off");
    // The browser reconnects by itself unless the server refused the stream.
    if (stream.readyState === EventSource.CLOSED) setTimeout(watch, 10000);
  };
  stream.addEventListener("hello", (e) => {
    if (JSON.parse(e.data).newest > newest && !("still" in history_.dataset)) location.reload();
  });
  stream.addEventListener("incident", (e) => {
    if (!("still" in history_.dataset)) enqueue(() => incident(JSON.parse(e.data)));
  });
  stream.addEventListener("building", () => enqueue(building));
}

watch();
