"use strict";
// Asks the model as any client would: POST /v1/models/NAME:predict. No markup is made of answers.
const byId = (id) => document.getElementById(id);
const MOST_CLASSES = 12;
let about = null;
let sent = null;
let shown = null;
let turn = 0;

function say(text, isError = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("error", isError);
}

function percent(score) {
  return `${(100 * score).toFixed(1)} %`;
}

async function base64(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 32768) {
    text += String.fromCharCode(...bytes.subarray(at, at + 32768));
  }
  return btoa(text);
}

async function asked(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    throw new Error("The server cannot be reached.");
  }
  if (response.ok) return response;
  let words = `The server answered ${response.status}.`;
  try {
    words = (await response.json()).error || words;
  } catch (error) { /* no JSON: the number says it */ }
  throw new Error(words);
}

async function ask(file) {
  const mine = ++turn;
  byId("answer").hidden = true;
  if (file.size > about.max_image_bytes) {
    say(`The file has ${(file.size / 1e6).toFixed(1)} MB; ${(about.max_image_bytes / 1e6).toFixed(1)} are the most that is taken.`, true);
    return;
  }
  say("Asking …");
  const started = performance.now();
  try {
    const body = JSON.stringify({ instances: [{ b64: await base64(file) }] });
    const response = await asked(`v1/models/${encodeURIComponent(about.name)}:predict`, { method: "POST", body });
    const answer = (await response.json()).predictions[0];
    if (mine !== turn) return;
    if (answer.error) throw new Error(`This picture cannot be read: ${answer.error}.`);
    sent = file;
    show(answer, performance.now() - started);
    say("");
    await explain(answer.classes[0], mine);
  } catch (error) {
    if (mine === turn) say(error.message, true);
  }
}

function isSaid(label, score, rank) {
  if (!about.multi_label) return rank === 0;
  return score >= (about.thresholds[label] ?? 0.5);
}

function show(answer, milliseconds) {
  const rows = answer.classes.map((label, rank) => ({ label, score: answer.scores[rank], said: isSaid(label, answer.scores[rank], rank) }));
  const said = rows.filter((row) => row.said).map((row) => row.label);
  byId("headline").textContent = said.length ? said.join(", ") : "none of the labels";
  const seen = byId("seen");
  seen.hidden = answer.unknown_score === undefined;
  if (!seen.hidden) {
    const far = answer.is_unknown === true;
    seen.classList.toggle("far", far);
    seen.textContent = far
      ? `Have I seen this before? Hardly: it is farther from what the model was trained on (distance ${answer.unknown_score.toFixed(3)}) than ${Math.round(100 * (1 - about.false_alarms))} % of pictures of that kind are (${about.unknown_threshold.toFixed(3)}). Take the answer with care.`
      : `Have I seen this before? ${about.unknown_threshold === null ? "" : "Such pictures, yes. "}Its distance from what the model was trained on is ${answer.unknown_score.toFixed(3)}` +
        (about.unknown_threshold === null ? "; there were too few images to say how far is too far." : `; ${Math.round(100 * (1 - about.false_alarms))} % of pictures of that kind are within ${about.unknown_threshold.toFixed(3)}.`);
  }
  if (shown) URL.revokeObjectURL(shown);
  shown = URL.createObjectURL(sent);
  byId("picture").src = shown;
  byId("map").removeAttribute("src");
  const list = byId("classes");
  list.replaceChildren(...rows.slice(0, MOST_CLASSES).map(classRow));
  byId("took").textContent = `${rows.length > MOST_CLASSES ? `The best ${MOST_CLASSES} of ${rows.length} classes. ` : ""}Answered in ${Math.round(milliseconds)} ms. A class that you choose is explained.`;
  byId("answer").hidden = false;
}

function classRow(row) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.classList.toggle("said", row.said);
  button.dataset.label = row.label;
  const label = document.createElement("span");
  label.className = "label";
  label.textContent = row.label;
  const meter = document.createElement("meter");
  meter.max = 1;
  meter.value = row.score;
  meter.setAttribute("aria-hidden", "true");
  const score = document.createElement("span");
  score.className = "score";
  score.textContent = percent(row.score);
  button.append(label, meter, score);
  button.addEventListener("click", () => explain(row.label, turn).catch((error) => say(error.message, true)));
  item.append(button);
  return item;
}

let clicks = 0;

async function explain(label, mine) {
  const click = ++clicks;
  const isLast = () => mine === turn && click === clicks;
  for (const button of byId("classes").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.dataset.label === label));
  }
  const figure = byId("map-figure");
  figure.classList.add("busy");
  byId("map-words").textContent = `for ${label} …`;
  let picture;
  try {
    const response = await asked(`evidence?class=${encodeURIComponent(label)}`, { method: "POST", body: sent });
    picture = await response.blob();
  } finally {
    if (isLast()) figure.classList.remove("busy");
  }
  if (!isLast()) return;
  const old = byId("map").src;
  byId("map").src = URL.createObjectURL(picture);
  if (old.startsWith("blob:")) URL.revokeObjectURL(old);
  byId("map-words").textContent = `for ${label} in orange, against it in blue: how its log-odds change when a square is covered`;
}

function firstImage(files) {
  const file = [...(files || [])][0];
  if (file) ask(file);
}

async function start() {
  try {
    about = await (await asked("about.json")).json();
  } catch (error) {
    say(error.message, true);
    return;
  }
  document.title = `${about.name} – kerastl`;
  byId("name").textContent = about.name;
  const [height, width] = about.image_size;
  byId("facts").textContent = `version ${about.version} · ${about.class_names.length} classes · sees ${width} × ${height} pixels · exported with kerastl ${about.exported_with.kerastl}, TensorFlow ${about.exported_with.tensorflow}`;
  const address = new URL(`v1/models/${encodeURIComponent(about.name)}:predict`, location.href);
  byId("curl").textContent = `(printf '{"instances": [{"b64": "'; base64 -w0 picture.jpg; printf '"}]}') |\n    curl -d @- ${address}`;
  const drop = byId("drop");
  byId("file").addEventListener("change", (event) => { firstImage(event.target.files); event.target.value = ""; });
  for (const kind of ["dragenter", "dragover"]) {
    window.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  for (const kind of ["dragleave", "drop"]) {
    window.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.remove("over"); });
  }
  window.addEventListener("drop", (event) => firstImage(event.dataTransfer.files));
  window.addEventListener("paste", (event) => firstImage(event.clipboardData.files));
}

start();
