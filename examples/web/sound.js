// Sound as mono Float32Arrays, from files and from the microphone, at whatever rate is asked for.

/** The samples of an encoded file (an ArrayBuffer) at `rate` hertz; throws if the browser cannot decode it. */
export async function decode(content, rate) {
  // A context resamples whatever it decodes to its own rate.
  const buffer = await new OfflineAudioContext(1, 1, rate).decodeAudioData(content);
  const channels = Array.from({ length: buffer.numberOfChannels }, (_, each) => buffer.getChannelData(each));
  return channels[0].map((_, at) => channels.reduce((sum, channel) => sum + channel[at], 0) / channels.length);
}

/** `samples` of `from` hertz at `to` hertz. */
export async function resample(samples, from, to) {
  const context = new OfflineAudioContext(1, Math.round((samples.length / from) * to), to);
  const source = new AudioBufferSourceNode(context, {
    buffer: new AudioBuffer({ length: samples.length, sampleRate: from }),
  });
  source.buffer.copyToChannel(samples, 0);
  source.connect(context.destination);
  source.start();
  return (await context.startRendering()).getChannelData(0);
}

/** The microphone, of which the last `seconds` are kept. */
export class Microphone {
  static async open(seconds) {
    // What makes speech pleasant to hear changes it from what the model was trained on.
    const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    const stream = await navigator.mediaDevices.getUserMedia({ audio });
    const context = new AudioContext();
    await context.audioWorklet.addModule(new URL("recorder.js", import.meta.url));
    const recorder = new AudioWorkletNode(context, "recorder", { channelCount: 1, channelCountMode: "explicit" });
    context.createMediaStreamSource(stream).connect(recorder);
    return new Microphone(stream, context, recorder, seconds);
  }

  constructor(stream, context, recorder, seconds) {
    this.stream = stream;
    this.context = context;
    this.recent = new Float32Array(Math.round(seconds * context.sampleRate));
    this.heard = 0; // samples since it was opened
    recorder.port.onmessage = ({ data }) => {
      this.recent.copyWithin(0, data.length);
      this.recent.set(data, this.recent.length - data.length);
      this.heard += data.length;
    };
  }

  /** Seconds since it was opened. */
  get time() {
    return this.heard / this.context.sampleRate;
  }

  /** The last `seconds` at `rate` hertz, silence before the beginning. */
  latest(rate) {
    return resample(this.recent, this.context.sampleRate, rate);
  }

  async close() {
    this.stream.getTracks().forEach((track) => track.stop());
    await this.context.close();
  }
}
