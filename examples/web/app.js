// The page: what is chosen, what is heard, and what is said about it.

import { decode, Microphone } from "./sound.js";

const MODEL = "speech.tflite";
const HOP = 0.5; // seconds from one window to the next
const SHOWN = 3; // words for each window
const SURE = 0.6; // least probability of a word that the microphone is said to have heard
const NO_WORDS = new Set(["silence", "unknown"]);
const KEPT = 30; // answers from the microphone

const [file, microphone, status, known, labels, answers, answer, word] = [
  ...["file", "microphone", "status", "known", "labels", "answers", "answer", "word"],
].map((id) => document.getElementById(id));

function say(text, wrong = false) {
  status.textContent = text;
  status.classList.toggle("wrong", wrong);
}

/** The `SHOWN` most probable labels as pairs of label and probability, the most probable first. */
function best(names, probabilities) {
  const pairs = names.map((name, index) => [name, probabilities[index]]);
  return pairs.sort(([, one], [, other]) => other - one).slice(0, SHOWN);
}

function answerElement(start, end, words) {
  const item = answer.content.cloneNode(true).firstElementChild;
  item.querySelector(".time").textContent = `${start.toFixed(1)} to ${end.toFixed(1)} s`;
  const [[first, highest]] = words;
  item.classList.toggle("unsure", NO_WORDS.has(first) || highest < SURE);
  for (const [name, probability] of words) {
    const row = word.content.cloneNode(true).firstElementChild;
    row.querySelector(".name").textContent = name;
    row.querySelector(".bar").style.setProperty("--share", probability);
    const share = row.querySelector(".probability");
    share.value = probability;
    share.textContent = `${(100 * probability).toFixed(1)} %`;
    item.querySelector(".words").append(row);
  }
  return item;
}

/** Every half second of a recording, as `KeywordSpotter.classify` does it in Python, while `isWanted` says so. */
async function hearFile(classifier, chosen, isWanted) {
  say(`Listening to ${chosen.name} …`);
  answers.replaceChildren();
  const sound = await decode(await chosen.arrayBuffer(), classifier.sampleRate).catch(() => {
    throw new Error(`This browser cannot decode ${chosen.name}. Choose a sound file, such as wav, flac, mp3 or ogg.`);
  });
  const hop = HOP * classifier.sampleRate;
  const windows = 1 + Math.ceil(Math.max(0, sound.length - classifier.samples) / hop);
  let milliseconds = 0;
  for (let start = 0; start < windows * hop; start += hop) {
    const clip = new Float32Array(classifier.samples); // silence where the recording is over
    clip.set(sound.subarray(start, start + classifier.samples));
    const before = performance.now();
    const words = best(classifier.labels, await classifier.classify(clip));
    milliseconds += performance.now() - before;
    if (!isWanted()) return;
    const time = start / classifier.sampleRate;
    answers.append(answerElement(time, time + classifier.seconds, words));
  }
  say(`${chosen.name}: ${windows} windows of ${classifier.seconds} s, ${(milliseconds / windows).toFixed(1)} ms each.`);
}

/** Words as they are spoken, the latest first, while `isWanted` says so. */
async function hearMicrophone(classifier, isWanted) {
  say("Waiting for the microphone …");
  answers.replaceChildren();
  const source = await Microphone.open(classifier.seconds).catch((error) => {
    throw new Error(`There is no microphone to be used (${error.message}). Allow it, or choose a file.`);
  });
  if (isWanted()) say("Listening. Say one of the words.");
  let last = null;
  while (isWanted()) {
    await new Promise((resume) => setTimeout(resume, (1000 * HOP) / 2));
    const clip = await source.latest(classifier.sampleRate);
    const words = best(classifier.labels, await classifier.classify(clip));
    const [[name, probability]] = words;
    const heard = probability >= SURE && !NO_WORDS.has(name) ? name : null;
    if (heard && heard !== last) {
      answers.prepend(answerElement(Math.max(0, source.time - classifier.seconds), source.time, words));
      while (answers.children.length > KEPT) answers.lastElementChild.remove();
    }
    last = heard;
  }
  await source.close();
}

function connect(classifier) {
  let session = 0; // each begins where the one before it ends
  const hear = async (hearIt, ...from) => {
    const mine = ++session;
    showMicrophone(hearIt === hearMicrophone);
    try {
      await hearIt(classifier, ...from, () => mine === session);
    } catch (error) {
      if (mine !== session) return;
      say(error.message, true);
      showMicrophone(false);
    }
  };
  file.addEventListener("change", async () => {
    if (file.files.length) await hear(hearFile, file.files[0]);
    file.value = ""; // so that the same file can be chosen again
  });
  microphone.addEventListener("click", () => {
    if (microphone.getAttribute("aria-pressed") === "false") return hear(hearMicrophone);
    session++;
    showMicrophone(false);
    say("The microphone is off.");
  });
}

function showMicrophone(on) {
  microphone.setAttribute("aria-pressed", String(on));
  microphone.textContent = on ? "Stop listening" : "Use the microphone";
}

try {
  const { Classifier } = await import("./classifier.js").catch(() => {
    throw new Error("LiteRT.js is missing. Run “npm ci” in examples/web, then load this page again.");
  });
  const classifier = await Classifier.load(MODEL);
  labels.textContent = classifier.labels.filter((label) => !NO_WORDS.has(label)).join(", ");
  known.hidden = false;
  connect(classifier);
  file.disabled = microphone.disabled = false;
  say("Ready. Choose a sound file, or use the microphone.");
} catch (error) {
  say(error.message, true);
}
