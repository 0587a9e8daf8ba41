"use strict";
// The 3-D view of a case page: vessel clouds as points, moved and coloured on the graphics card.
(() => {
  const root = document.getElementById("viewer");
  const find = (name) => root.querySelector(`[data-part="${name}"]`);
  const data = JSON.parse(document.getElementById("viewer-data").textContent);
  const canvas = find("canvas");
  const message = find("message");

  function refuse(text) {
    message.textContent = text;
    root.dataset.state = "no-webgl";
  }

  if (!document.createElement("canvas").getContext("webgl2")) {
    refuse("This browser has no WebGL 2, so the 3-D view is not available. The pictures below show the clouds.");
    return;
  }

  function decode(text) {
    const binary = atob(text);
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i += 1) bytes[i] = binary.charCodeAt(i);
    return new Uint16Array(bytes.buffer);
  }

  const VERTEX = `
    precision highp float;
    in vec4 position;
    in vec4 after;
    uniform mat4 modelViewMatrix, projectionMatrix;
    uniform vec3 low, colour, stops[4];
    uniform vec4 places;
    uniform float mm, residualMm, top, t, pixels, size, near, far;
    uniform bool byResidual;
    out vec3 shade;
    void main() {
      vec4 seen = modelViewMatrix * vec4(low + mm * mix(position.xyz, after.xyz, t), 1.0);
      gl_Position = projectionMatrix * seen;
      gl_PointSize = clamp(size * pixels / -seen.z, 1.5, 24.0);
      float share = clamp(residualMm * mix(position.w, after.w, t) / top, 0.0, 1.0);
      vec3 ramp = mix(stops[0], stops[1], clamp((share - places[0]) / (places[1] - places[0]), 0.0, 1.0));
      ramp = mix(ramp, stops[2], clamp((share - places[1]) / (places[2] - places[1]), 0.0, 1.0));
      ramp = mix(ramp, stops[3], clamp((share - places[2]) / (places[3] - places[2]), 0.0, 1.0));
      // What is farther fades into the white of the page.
      float fade = 0.6 * clamp((-seen.z - near) / (far - near), 0.0, 1.0);
      shade = mix(byResidual ? ramp : colour, vec3(1.0), fade);
    }`;
  const FRAGMENT = `
    precision highp float;
    in vec3 shade;
    out vec4 pixel;
    void main() {
      vec2 apart = gl_PointCoord - 0.5;
      if (dot(apart, apart) > 0.25) discard;
      pixel = vec4(shade, 1.0);
    }`;

  const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255);
  const vector = (values) => new THREE.Vector3(...values);
  const shared = {
    low: { value: vector(data.low_mm) },
    mm: { value: data.step_mm },
    residualMm: { value: data.residual_step_mm },
    top: { value: data.top_mm },
    places: { value: data.ramp.map((stop) => stop[0]) },
    stops: { value: data.ramp.map((stop) => vector(rgb(stop[1]))) },
    t: { value: 0 },
    pixels: { value: 1 },
    near: { value: 0 },
    far: { value: 1 },
  };

  function cloud(points, after, colour, size) {
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute("position", new THREE.BufferAttribute(points, 4));
    geometry.setAttribute("after", new THREE.BufferAttribute(after, 4));
    const material = new THREE.RawShaderMaterial({
      glslVersion: THREE.GLSL3,
      vertexShader: VERTEX,
      fragmentShader: FRAGMENT,
      uniforms: {
        ...shared,
        colour: { value: vector(rgb(colour)) },
        size: { value: size },
        byResidual: { value: false },
      },
    });
    const shown = new THREE.Points(geometry, material);
    shown.frustumCulled = false;
    return shown;
  }

  const before = decode(data.fixed);
  const methods = data.methods.map((method) => decode(method.points));
  const expected = data.methods.map((method) => method.expected && decode(method.expected));
  const byExpected = () => Boolean(find("by-expected") && find("by-expected").checked);
  const still = decode(data.moving);
  const fixed = cloud(before, methods[0] || before, "#b3127f", 2);
  const moving = cloud(still, still, "#1a7a1a", 1.6);

  const renderer = new THREE.WebGLRenderer({ canvas, antialias: true, preserveDrawingBuffer: true });
  renderer.setClearColor(0xffffff);
  renderer.setPixelRatio(Math.min(window.devicePixelRatio, 2));
  const scene = new THREE.Scene();
  scene.add(moving, fixed);
  const camera = new THREE.PerspectiveCamera(30, 1, 1, 10 * data.radius_mm);
  camera.up.set(0, 0, 1);
  const controls = new THREE.OrbitControls(camera, canvas);
  controls.minDistance = 0.2 * data.radius_mm;
  controls.maxDistance = 6 * data.radius_mm;
  const centre = vector(data.centre_mm);
  // World axes are LPS: x to the patient's left, y to the back, z to the head.
  const sides = { R: [-1, 0, 0], L: [1, 0, 0], A: [0, -1, 0], P: [0, 1, 0], H: [0, 0, 1], F: [0, 0, -1] };
  const letters = Object.entries(sides).map(([name, direction]) => ({
    label: find(`letter-${name}`),
    direction: vector(direction),
    place: vector(direction.map((part, axis) => part * (data.half_mm[axis] + 12))).add(centre),
  }));

  let waiting = false;
  function draw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      const distance = camera.position.distanceTo(centre);
      shared.near.value = distance - 0.6 * data.radius_mm;
      shared.far.value = distance + 0.8 * data.radius_mm;
      renderer.render(scene, camera);
      const line = camera.position.clone().sub(controls.target).normalize();
      for (const { label, direction, place } of letters) {
        const at = place.clone().project(camera);
        label.style.left = `${50 * (at.x + 1)}%`;
        label.style.top = `${50 * (1 - at.y)}%`;
        // The near and the far side would lie on the vessels.
        const ahead = Math.abs(line.dot(direction)) > 0.9;
        label.hidden = ahead || Math.abs(at.x) > 0.99 || Math.abs(at.y) > 0.99 || at.z > 1;
      }
      root.dataset.state = "ready";
    });
  }

  function resize() {
    const { clientWidth: width, clientHeight: height } = canvas.parentElement;
    if (!width || !height) return;
    renderer.setSize(width, height, false);
    camera.aspect = width / height;
    camera.updateProjectionMatrix();
    const rows = height * renderer.getPixelRatio();
    shared.pixels.value = rows / (2 * Math.tan((camera.fov * Math.PI) / 360));
    draw();
  }

  function look(direction) {
    controls.target.copy(centre);
    const distance = 2.9 * data.radius_mm * Math.max(1, 1 / camera.aspect);
    camera.position.copy(vector(direction).multiplyScalar(distance).add(centre));
    controls.update();
    draw();
  }

  // Turning by keys: azimuth around the body's axis, and height within the poles.
  function turn(azimuth, height, zoom) {
    const offset = camera.position.clone().sub(controls.target);
    const radius = Math.min(Math.max(offset.length() * zoom, controls.minDistance), controls.maxDistance);
    const around = Math.atan2(offset.x, -offset.y) + azimuth;
    const up = Math.min(Math.max(Math.asin(offset.z / offset.length()) + height, -1.5), 1.5);
    offset.set(Math.sin(around) * Math.cos(up), -Math.cos(around) * Math.cos(up), Math.sin(up));
    camera.position.copy(offset.multiplyScalar(radius).add(controls.target));
    controls.update();
    draw();
  }

  const views = { front: [0, -1, 0.0001], left: [1, 0, 0.0001], top: [0, -0.01, 1] };
  const STEP = Math.PI / 36;
  const keys = {
    ArrowLeft: () => turn(-STEP, 0, 1),
    ArrowRight: () => turn(STEP, 0, 1),
    ArrowUp: () => turn(0, STEP, 1),
    ArrowDown: () => turn(0, -STEP, 1),
    "+": () => turn(0, 0, 0.9),
    "=": () => turn(0, 0, 0.9),
    "-": () => turn(0, 0, 1.1),
    0: () => look(views.front),
  };
  canvas.addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  });

  const slider = find("slider");
  const method = find("method");
  const said = find("said");
  function state() {
    const t = Number(slider.value);
    const chosen = data.methods[method.selectedIndex];
    shared.t.value = t;
    const missing = byExpected() && !expected[method.selectedIndex] ? "; this method has no expected errors" : "";
    const share = `${Math.round(100 * t)} % of the motion`;
    slider.setAttribute("aria-valuetext", share);
    said.textContent = chosen
      ? `${share}; median distance ${data.median_mm.toFixed(1)} mm before, ${chosen.median_mm.toFixed(1)} mm after${missing}`
      : `median distance ${data.median_mm.toFixed(1)} mm; no registration to show`;
    draw();
  }
  slider.addEventListener("input", state);
  method.addEventListener("change", () => {
    colours();
    state();
  });

  const play = find("play");
  let playing = 0;
  const SECONDS = 2.5;
  play.addEventListener("click", () => {
    cancelAnimationFrame(playing);
    const started = performance.now();
    const frame = (now) => {
      const t = Math.min((now - started) / (1000 * SECONDS), 1);
      slider.value = String(t);
      state();
      if (t < 1) playing = requestAnimationFrame(frame);
    };
    playing = requestAnimationFrame(frame);
  });

  // The same points, coloured by other values.
  function withValues(points, values) {
    const made = points.slice();
    for (let i = 0; i < values.length; i += 1) made[4 * i + 3] = values[i];
    return made;
  }

  function colours() {
    const chosen = expected[method.selectedIndex];
    const after = methods[method.selectedIndex] || before;
    const shown = byExpected() && chosen ? [before, after].map((points) => withValues(points, chosen)) : [before, after];
    ["position", "after"].forEach((name, at) => {
      fixed.geometry.setAttribute(name, new THREE.BufferAttribute(shown[at], 4));
    });
    shared.top.value = byExpected() ? data.expected_top_mm : data.top_mm;
    const ramp = find("by-residual").checked || Boolean(byExpected() && chosen);
    fixed.material.uniforms.byResidual.value = ramp;
    moving.visible = find("show-moving").checked;
    find("bar").hidden = !find("by-residual").checked;
    find("key").hidden = ramp;
    if (find("expected-bar")) find("expected-bar").hidden = !(byExpected() && chosen);
    draw();
  }
  find("by-scan").addEventListener("change", () => {
    find("show-moving").checked = true;
  });
  for (const part of ["by-residual", "by-expected", "by-scan", "show-moving"]) {
    if (find(part)) find(part).addEventListener("change", () => { colours(); state(); });
  }
  for (const name of Object.keys(views)) find(`view-${name}`).addEventListener("click", () => look(views[name]));

  controls.addEventListener("change", draw);
  canvas.addEventListener("webglcontextrestored", draw);
  document.documentElement.classList.add("with-3d");
  if (!data.methods.length) for (const part of [slider, method, play]) part.disabled = true;
  new ResizeObserver(resize).observe(canvas.parentElement);
  resize();
  look(views.front);
  colours();
  state();
})();
