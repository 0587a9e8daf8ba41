"use strict";
// The page of lcsd serve: files, verdicts, jobs and results through the API. All texts are set as text, never as HTML.
(() => {
  const find = (id) => document.getElementById(id);
  const PARTS = {
    fixed: ["Baseline", "the cloud that is moved, or a chest CT"],
    moving: ["Follow-up", "the cloud that it is moved to, or a chest CT"],
    landmarks: ["Landmarks", "optional: pairs of both scans"],
    moving_landmarks: ["Landmarks of the follow-up", "optional: if the others are of the baseline only"],
    fixed_mask: ["Lungs of the baseline", "optional, for CT: a mask"],
    moving_mask: ["Lungs of the follow-up", "optional, for CT: a mask"],
  };
  const POLL_MS = 250;
  const files = {};
  let offer = null;
  let checked = null; // id of the check whose files are registered
  let sample = "";
  let running = null;
  let turn = 0; // a newer check makes the older one silent

  function made(tag, text, className) {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    return element;
  }

  class Refused extends Error {}

  async function ask(path, options) {
    let answer;
    try {
      answer = await fetch(path, options);
    } catch {
      throw new Refused("The server does not answer. Has lcsd serve ended?");
    }
    const content = await answer.json();
    if (!answer.ok) throw new Refused(content.message);
    return content;
  }

  const pause = () => new Promise((done) => setTimeout(done, POLL_MS));

  async function ended(id, watch) {
    for (;;) {
      const job = await ask(`/api/jobs/${id}`);
      watch(job);
      if (["done", "failed", "cancelled"].includes(job.state)) return job;
      await pause();
    }
  }

  function form(extra) {
    const data = new FormData();
    for (const select of document.querySelectorAll("[data-choice]")) {
      if (select.value) data.append(select.dataset.choice, select.value);
    }
    for (const [name, value] of Object.entries(extra)) data.append(name, value);
    return data;
  }

  const remove = (id) => fetch(`/api/jobs/${id}`, { method: "DELETE", keepalive: true }).catch(() => {});

  // Files

  function zone(part, suffixes) {
    const [title, note] = PARTS[part];
    const label = made("label", undefined, "drop");
    const input = made("input");
    input.type = "file";
    input.id = `file-${part}`;
    label.append(input, made("strong", title), made("span", `${note}; drop or choose`, "soft"));
    const name = made("span", "", "name");
    name.id = `name-${part}`;
    label.append(name, made("span", suffixes.join(" "), "soft"));
    input.addEventListener("change", () => take(part, input.files));
    for (const event of ["dragenter", "dragover"]) label.addEventListener(event, () => label.classList.add("over"));
    for (const event of ["dragleave", "drop"]) label.addEventListener(event, () => label.classList.remove("over"));
    label.addEventListener("drop", (event) => {
      event.preventDefault();
      take(part, event.dataTransfer.files);
    });
    return label;
  }

  // Two files at once are the baseline and the follow-up.
  function take(part, given) {
    if (!given.length) return;
    if (given.length > 1) {
      files.fixed = given[0];
      files.moving = given[1];
    } else {
      files[part] = given[0];
    }
    sample = "";
    for (const name of Object.keys(PARTS)) find(`name-${name}`).textContent = files[name] ? files[name].name : "";
    check();
  }

  async function check() {
    turn += 1;
    const mine = turn;
    find("start").disabled = true;
    const verdict = find("verdict");
    if (checked) remove(checked);
    checked = null;
    if (!sample && !(files.fixed && files.moving)) {
      verdict.replaceChildren(made("p", "Waiting for the other file.", "soft"));
      return;
    }
    const size = sample ? 0 : Object.values(files).reduce((sum, file) => sum + file.size, 0);
    if (size > offer.upload_bytes) {
      const most = Math.floor(offer.upload_bytes / 2 ** 20);
      verdict.replaceChildren(made("p", `The files are too large: ${Math.ceil(size / 2 ** 20)} MiB, at most ${most} MiB.`, "error"));
      return;
    }
    verdict.replaceChildren(made("p", "Reading and checking …", "soft"));
    try {
      const { id } = await ask("/api/checks", { method: "POST", body: form(sample ? { sample } : files) });
      const job = await ended(id, () => {});
      if (mine !== turn) {
        remove(id);
        return;
      }
      if (job.state !== "done") throw new Refused(job.message);
      checked = id;
      showVerdict(job.result);
      find("start").disabled = !job.result.good || running !== null;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (mine === turn) verdict.replaceChildren(made("p", error.message, "error"));
    }
  }

  function showVerdict(result) {
    const table = made("table");
    const head = made("tr");
    head.append(made("th", ""), made("th", "Size"), made("th", "Box, LPS mm"), made("th", "Read as"));
    table.append(head);
    for (const [scan, facts] of Object.entries(result.read)) {
      const row = made("tr");
      const [low, high] = facts.box_mm;
      const box = ["x", "y", "z"].map((axis, i) => `${axis} ${low[i]} to ${high[i]}`).join(", ");
      const size = facts.points
        ? `${facts.points.toLocaleString("en")} points`
        : `${facts.voxels.join(" × ")} voxels of ${facts.spacing_mm.join(" × ")} mm`;
      const labels = facts.labels || [];
      const more = [facts.radius ? "with radius" : "", labels.length ? `labels ${labels.join(", ")}` : ""];
      const as = [`${facts.format}, ${facts.frame.toUpperCase()}, ${facts.unit}`, ...more].filter(Boolean).join(", ");
      row.append(made("th", PARTS[scan][0]), made("td", size), made("td", box), made("td", as));
      table.append(row);
    }
    if (result.landmarks !== null) {
      const row = made("tr");
      row.append(made("th", "Landmarks"), made("td", String(result.landmarks)), made("td", ""), made("td", "pairs"));
      table.append(row);
    }
    const scroll = made("div", undefined, "scroll");
    scroll.append(table);
    const list = made("ul", undefined, "verdicts");
    for (const verdict of result.verdicts) list.append(made("li", verdict.text, verdict.good ? "good" : "bad"));
    find("verdict").replaceChildren(scroll, list);
  }

  // Jobs

  function showLive(job) {
    const left = job.seconds_left === null ? "" : `, about ${Math.ceil(job.seconds_left)} s left`;
    const words = {
      queued: job.ahead ? `Waiting: ${job.ahead} before this` : "Waiting for the worker",
      running: [job.stage, job.message].filter(Boolean).join(", ") + left,
      done: "Done",
      failed: job.message,
      cancelled: "Cancelled",
    };
    find("said").textContent = words[job.state];
    find("said").className = job.state === "failed" ? "error" : "";
    find("bar").value = job.progress;
    find("distance").textContent = job.distance === null ? "–" : job.distance.toFixed(4);
    const top = Math.max(...job.curve, 1e-9);
    const step = 600 / Math.max(job.curve.length - 1, 1);
    const points = job.curve.map((value, i) => `${(i * step).toFixed(1)},${(118 - (116 * value) / top).toFixed(1)}`);
    find("curve").firstElementChild.setAttribute("points", points.join(" "));
  }

  async function start() {
    const chosen = offer.methods[Number(document.querySelector("[name=method]:checked").value)];
    const extra = { like: checked, method: chosen.method, effort: chosen.effort };
    if (find("symmetric").checked) extra.symmetric = "true";
    find("start").disabled = true;
    find("live").hidden = false;
    find("cancel").hidden = false;
    find("cancel").focus();
    try {
      const { id } = await ask("/api/jobs", { method: "POST", body: form(extra) });
      running = id;
      const job = await ended(id, showLive);
      if (job.state === "done") addResult(job);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      find("said").textContent = error.message;
      find("said").className = "error";
    }
    running = null;
    find("cancel").hidden = true;
    find("start").disabled = checked === null;
  }

  // Results

  const size = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);
  const mm = (value) => (typeof value === "number" ? `${value.toFixed(2)} mm` : "–");

  function addResult(job) {
    const { result } = job;
    find("results").hidden = false;
    const row = made("tr");
    const first = made("th");
    const choose = made("button", result.method);
    choose.type = "button";
    choose.addEventListener("click", () => showResult(job));
    first.append(choose);
    const tre = result.landmarks && `${result.landmarks.tre_before_mean_mm.toFixed(2)} → ${mm(result.landmarks.tre_mean_mm)}`;
    row.append(
      first,
      made("td", `${result.residual_mm.before.toFixed(2)} → ${mm(result.residual_mm.after)}`),
      made("td", mm(result.figures.expected_error_median_mm)),
      made("td", tre || "–"),
      made("td", `${job.seconds.toFixed(1)} s`),
    );
    find("runs").tBodies[0].append(row);
    showResult(job);
    choose.focus();
  }

  function showResult(job) {
    const place = `/api/jobs/${job.id}/files`;
    find("shown").src = `${place}/result.html`;
    find("files").replaceChildren(
      ...job.result.files.map((file) => {
        const item = made("li");
        const link = made("a", file.name);
        link.href = `${place}/${file.name}?download`;
        link.download = file.name;
        item.append(link, made("span", ` ${file.holds}, ${size(file.bytes)}`, "soft"));
        return item;
      }),
    );
    const renamed = Object.entries(job.result.renamed).map(([ours, theirs]) => `${ours} is ${theirs}`);
    find("renamed").textContent = renamed.length ? `Where ${renamed.join(", ")}:` : "";
    find("commands").textContent = job.result.commands.join("\n");
  }

  // As high as its content, so that there is one scroll bar.
  find("shown").addEventListener("load", () => {
    const inside = find("shown").contentDocument;
    if (!inside || !inside.body) return;
    const fit = () => {
      find("shown").style.height = `${Math.ceil(inside.body.getBoundingClientRect().height) + 2}px`;
    };
    new ResizeObserver(fit).observe(inside.body);
    fit();
  });

  find("start").addEventListener("click", start);
  find("cancel").addEventListener("click", () => running && remove(running));
  find("copy").addEventListener("click", () => navigator.clipboard.writeText(find("commands").textContent));
  for (const select of document.querySelectorAll("[data-choice]")) select.addEventListener("change", check);
  // A file that misses its place must not replace the page.
  for (const event of ["dragover", "drop"]) document.addEventListener(event, (e) => e.preventDefault());
  // Nobody would see the end of a job whose page is closed.
  window.addEventListener("pagehide", () => {
    for (const id of [running, checked]) if (id) remove(id);
  });

  async function begin() {
    try {
      offer = await ask("/api");
    } catch (error) {
      find("verdict").replaceChildren(made("p", error.message, "error"));
      return;
    }
    find("drops").append(...Object.keys(PARTS).map((part) => zone(part, offer.parts[part])));
    offer.methods.forEach((method, i) => {
      const label = made("label");
      const input = made("input");
      input.type = "radio";
      input.name = "method";
      input.value = String(i);
      input.checked = i === 0;
      label.append(input, " ", made("strong", method.title), made("span", method.note, "soft"));
      find("methods").append(label);
    });
    for (const { name, title } of offer.samples) {
      const button = made("button", title);
      button.type = "button";
      button.addEventListener("click", () => {
        sample = name;
        for (const part of Object.keys(PARTS)) {
          delete files[part];
          find(`name-${part}`).textContent = "";
          find(`file-${part}`).value = "";
        }
        check();
      });
      find("samples").append(button);
    }
    document.body.dataset.state = "ready";
  }
  begin();
})();
