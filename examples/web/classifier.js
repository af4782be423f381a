// A TFLite file that takes mono sound, with LiteRT.js to run it and its labels from its own metadata.

import { loadAndCompile, loadLiteRt, Tensor } from "@litertjs/core";

const NO_LABELS = "The model file names no labels. Export it with lstm-zoo, a model of your own with --labels.";
const RUNTIME = new URL("node_modules/@litertjs/core/wasm/", import.meta.url).href;

export class Classifier {
  sampleRate = 16000; // hertz, of every model of the zoo for keywords

  /** Loads WebAssembly and the file at `url`; throws an Error whose message says what to do. */
  static async load(url) {
    if (typeof WebAssembly !== "object") throw new Error("This browser has no WebAssembly, which the model needs.");
    const response = await fetch(url);
    if (!response.ok) {
      throw new Error(`There is no ${url} here. Make it: lstm-zoo export speech examples/web/speech.tflite`);
    }
    const bytes = new Uint8Array(await response.arrayBuffer());
    const labels = readLabels(bytes);
    await loadLiteRt(RUNTIME).catch((error) => {
      throw new Error(`LiteRT.js does not start (${error.message}). Run “npm ci” in examples/web.`);
    });
    const model = await loadAndCompile(bytes, { accelerator: "wasm" }).catch((error) => {
      throw new Error(`LiteRT.js does not take ${url} (${error.message}). Export it with the default profile.`);
    });
    return new Classifier(model, labels);
  }

  constructor(model, labels) {
    this.model = model;
    this.labels = labels;
    this.samples = model.getInputDetails()[0].shape[1];
  }

  get seconds() {
    return this.samples / this.sampleRate;
  }

  /** The probability of each label in `clip`, a Float32Array of `this.samples` values in -1..1. */
  async classify(clip) {
    const input = new Tensor(clip, [1, this.samples]);
    const [output] = await this.model.run([input]);
    const probabilities = Float32Array.from(await output.data());
    input.delete(); // tensors lie in WebAssembly's memory, which nobody else tidies up
    output.delete();
    return probabilities;
  }
}

/** The lines of labels.txt: TFLite metadata keep it in an uncompressed zip archive after the model. */
function readLabels(bytes) {
  const view = new DataView(bytes.buffer);
  const text = (start, length) => new TextDecoder().decode(bytes.subarray(start, start + length));
  const end = bytes.length - 22; // the archive's last record, which tells where its directory is
  if (end < 0 || view.getUint32(end, true) !== 0x06054b50) throw new Error(NO_LABELS);
  let entry = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left--) {
    const [name, extra, comment] = [28, 30, 32].map((field) => view.getUint16(entry + field, true)); // their lengths
    if (text(entry + 46, name) === "labels.txt") {
      const local = view.getUint32(entry + 42, true);
      const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
      return text(start, view.getUint32(entry + 24, true)).trimEnd().split("\n");
    }
    entry += 46 + name + extra + comment;
  }
  throw new Error(NO_LABELS);
}
