/** A worker that is given the sound of a track, and posts when each sound begins after a pause, on Unix time in milliseconds. */

const LOUD = 0.03
const PAUSE_MS = 300

self.onmessage = async ({ data: readable }) => {
  const reader = readable.getReader()
  let loudAt = -Infinity
  for (;;) {
    const { value: sound, done } = await reader.read()
    if (done) return
    const at = performance.timeOrigin + performance.now()
    const samples = new Float32Array(sound.numberOfFrames)
    sound.copyTo(samples, { planeIndex: 0, format: 'f32-planar' })
    for (let n = 0; n < samples.length; n++) {
      if (Math.abs(samples[n]) < LOUD) continue
      const ms = at + (n * 1000) / sound.sampleRate
      if (ms - loudAt > PAUSE_MS) self.postMessage(ms)
      loudAt = ms
    }
    sound.close()
  }
}
