/** Before joining: how one looks and sounds, and which devices are used. What was opened here is what joins. */

import { byId } from './dom.js'
import { chooseDevice, listDevices, openDevices } from './devices.js'

/** How often the meter moves, in milliseconds. */
const METER_MS = 80

export class Mirror {
  #media = new MediaStream()
  /** @type {{ context: AudioContext, timer: ReturnType<typeof setInterval> } | null} */ #meter = null
  #onProblem

  /** @param {(error: import('../sdk/roomcast.js').RoomcastError) => void} onProblem */
  constructor(onProblem) {
    this.#onProblem = onProblem
    byId('check-devices').addEventListener('click', () => this.open())
    for (const select of byId('chosen').querySelectorAll('select[data-device]')) select.addEventListener('change', () => this.#switch(select.dataset.device, select.value))
  }

  /** Opens camera and microphone. @param {boolean} [isAsked]  somebody wants to know why if they do not open */
  async open(isAsked = true) {
    const { tracks, error } = await openDevices({ audio: true, video: true })
    if (error && isAsked) this.#onProblem(error)
    if (tracks.length === 0) return
    if (document.body.dataset.view !== 'lobby') return tracks.forEach((track) => track.stop())
    for (const track of tracks) this.#media.addTrack(track)
    await listDevices()
    this.#show()
  }

  /** Opens them only if the person allowed it some other day, so that nobody is asked for nothing. */
  async openIfAllowed() {
    const states = await Promise.all(['camera', 'microphone'].map((name) => navigator.permissions.query({ name: /** @type {PermissionName} */ (name) }).then(({ state }) => state, () => 'unknown')))
    if (states.every((state) => state === 'granted')) await this.open(false)
  }

  /** What is open, which belongs to the caller from now on. @returns {MediaStreamTrack[]} */
  take() {
    const tracks = this.#media.getTracks().filter(({ readyState }) => readyState === 'live')
    this.#media = new MediaStream()
    this.#show()
    return tracks
  }

  /** Switches everything off. */
  close() {
    for (const track of this.take()) track.stop()
  }

  /** @param {string} kind @param {string} deviceId */
  async #switch(kind, deviceId) {
    chooseDevice(kind, deviceId)
    const isVideo = kind === 'videoinput'
    const before = isVideo ? this.#media.getVideoTracks() : this.#media.getAudioTracks()
    for (const track of before) {
      track.stop()
      this.#media.removeTrack(track)
    }
    const { tracks, error } = await openDevices({ audio: !isVideo, video: isVideo })
    if (error) this.#onProblem(error)
    for (const track of tracks) this.#media.addTrack(track)
    this.#show()
  }

  #show() {
    const isOpen = this.#media.getTracks().length > 0
    byId('mirror').hidden = this.#media.getVideoTracks().length === 0
    byId('mirror-video').srcObject = isOpen ? this.#media : null
    byId('chosen').hidden = !isOpen
    byId('check-devices').hidden = isOpen
    byId('join-hint').hidden = isOpen
    clearInterval(this.#meter?.timer)
    this.#meter?.context.close()
    this.#meter = null
    const [audio] = this.#media.getAudioTracks()
    if (audio) this.#listen(audio)
  }

  /** @param {MediaStreamTrack} track */
  #listen(track) {
    const context = new AudioContext()
    const analyser = new AnalyserNode(context, { fftSize: 1024 })
    new MediaStreamAudioSourceNode(context, { mediaStream: new MediaStream([track]) }).connect(analyser)
    const samples = new Float32Array(analyser.fftSize)
    const level = byId('level')
    // A page that nobody has clicked yet may not run sound; the first click lets it.
    const wake = () => context.state === 'suspended' && context.resume()
    document.addEventListener('pointerdown', wake, { once: true })
    let shown = 0
    const timer = setInterval(() => {
      analyser.getFloatTimeDomainData(samples)
      const loud = Math.min(1, 3 * Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length))
      shown = Math.max(loud, shown * 0.85)
      level.value = shown
    }, METER_MS)
    this.#meter = { context, timer }
  }
}
