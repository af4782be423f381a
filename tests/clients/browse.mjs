// Opens examples/web in Chromium, does with it what a person would do, and prints what it then shows as JSON.
//
//   node browse.mjs CHROMIUM URL file|microphone|look SOUND.wav [PICTURE.png]

import { createRequire } from "node:module";

const require = createRequire(new URL("../../examples/web/", import.meta.url)); // where playwright-core is installed
const { chromium } = require("playwright-core");
const [executablePath, url, action, sound, picture] = process.argv.slice(2);
const ENOUGH_WORDS = 3; // from the microphone

const browser = await chromium.launch({
  executablePath,
  args: [
    ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"],
    ...["--disable-component-update", "--disable-sync", "--use-fake-ui-for-media-stream"],
    ...["--use-fake-device-for-media-stream", `--use-file-for-fake-audio-capture=${sound}`],
  ],
});
try {
  const page = await browser.newPage({ viewport: { width: 760, height: 900 } });
  const [problems, requests] = [[], []];
  page.on("pageerror", (error) => problems.push(error.message));
  page.on("request", (request) => requests.push(request.url()));
  await page.goto(url);
  const status = page.getByRole("status");
  await status.filter({ hasNotText: "Loading" }).waitFor();
  if (action === "file") {
    await page.getByLabel("Choose a sound file").setInputFiles(sound);
    await status.filter({ hasNotText: /^(Ready|Listening)/ }).waitFor();
  }
  if (action === "microphone") {
    await page.getByRole("button", { name: "Use the microphone" }).click();
    await page.locator(`#answers > li:nth-child(${ENOUGH_WORDS})`).waitFor();
    await page.getByRole("button", { name: "Stop listening" }).click();
  }
  const answers = await page.locator("#answers > li").evaluateAll((items) =>
    items.map((item) => ({
      time: item.querySelector(".time").textContent,
      words: [...item.querySelectorAll(".words > li")].map((row) => ({
        name: row.querySelector(".name").textContent,
        probability: Number(row.querySelector("data").value),
        shown: row.querySelector("data").textContent,
      })),
    })),
  );
  if (picture) await page.screenshot({ path: picture, fullPage: true });
  console.log(JSON.stringify({ status: await status.textContent(), answers, problems, requests }));
} finally {
  await browser.close();
}
