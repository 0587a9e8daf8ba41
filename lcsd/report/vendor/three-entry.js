// What the report's 3-D view takes of three.js; see README.md.
export {
  BufferAttribute, BufferGeometry, GLSL3, PerspectiveCamera, Points, RawShaderMaterial, Scene,
  Vector3, WebGLRenderer,
} from "three";
export { OrbitControls } from "three/addons/controls/OrbitControls.js";
