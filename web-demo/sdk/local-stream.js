/** A camera and microphone, or a screen, of this browser: opened, looked at, switched, and published with `room.publish(stream)`. */

import { RoomcastError } from './signaling.js'

/**
 * @typedef {{ width: number, height: number, frameRate: number, bitrate: number }} VideoProfile  bitrate in kbit/s
 *
 * @typedef {object} StreamOptions
 * @property {boolean} [audio]  the microphone
 * @property {boolean} [video]  the camera
 * @property {boolean} [screen]  the screen instead of the camera; published as the stream `aux`
 * @property {boolean} [screenAudio]  with the sound of the screen, where the browser can
 * @property {string} [cameraId]
 * @property {string} [microphoneId]
 * @property {'user' | 'environment'} [facingMode]  which camera of a phone
 * @property {MediaStreamTrack} [audioSource]  this track instead of a microphone
 * @property {MediaStreamTrack} [videoSource]  this track instead of a camera
 * @property {boolean} [mirror]  whether `play` shows it mirrored; by default a camera is
 */

/** @type {Record<string, VideoProfile>} */
export const VIDEO_PROFILES = {
  '120p': { width: 160, height: 120, frameRate: 15, bitrate: 200 },
  '180p': { width: 320, height: 180, frameRate: 15, bitrate: 350 },
  '240p': { width: 320, height: 240, frameRate: 15, bitrate: 400 },
  '360p': { width: 640, height: 360, frameRate: 15, bitrate: 800 },
  '480p': { width: 640, height: 480, frameRate: 15, bitrate: 900 },
  '720p': { width: 1280, height: 720, frameRate: 15, bitrate: 1500 },
  '1080p': { width: 1920, height: 1080, frameRate: 15, bitrate: 2000 },
  '1440p': { width: 2560, height: 1440, frameRate: 30, bitrate: 4860 },
  '4K': { width: 3840, height: 2160, frameRate: 30, bitrate: 9000 },
}
const SCREEN_PROFILE = { width: 1920, height: 1080, frameRate: 5, bitrate: 1600 }

/** @typedef {{ replaceTrack: (track: MediaStreamTrack) => Promise<unknown>, mute: (kind: 'audio' | 'video', muted: boolean) => Promise<unknown> }} Carrier */

/**
 * Events: `screen-sharing-stopped` (the person ended it in the browser), `device-lost` with `{ kind }` (unplugged, or taken away),
 * `error` with `{ error }`.
 */
export class LocalStream extends EventTarget {
  #options
  #media = new MediaStream()
  /** @type {VideoProfile} */ #profile
  /** @type {HTMLVideoElement | null} */ #player = null
  /** @type {{ context: AudioContext, analyser: AnalyserNode, samples: Float32Array<ArrayBuffer> } | null} */ #meter = null
  /** The room that publishes it. @type {Carrier | null} */ carrier = null

  /** Use `createStream`. @param {StreamOptions} options */
  constructor(options) {
    super()
    this.#options = options
    this.#profile = options.screen ? SCREEN_PROFILE : VIDEO_PROFILES['480p']
  }

  /** @returns {'main' | 'aux'} */
  get stream() {
    return this.#options.screen ? 'aux' : 'main'
  }

  /** In bits per second. */
  get maxVideoBps() {
    return this.#profile.bitrate * 1000
  }

  /** What was opened; the same object always. */
  get mediaStream() {
    return this.#media
  }

  /**
   * Opens the devices, asking the person if need be.
   * @throws {RoomcastError} with the browser's name of the problem (`NotAllowedError`, `NotFoundError`, `NotReadableError`), or `insecure-page`
   */
  async initialize() {
    const { audio, video, screen, screenAudio, audioSource, videoSource } = this.#options
    if (audioSource) this.#add(audioSource)
    if (videoSource) this.#add(videoSource)
    const wanted = { audio: Boolean(audio) && !audioSource, video: Boolean(video) && !videoSource && !screen }
    if (screen && !videoSource) {
      const { width, height, frameRate } = this.#profile
      const devices = mediaDevices()
      const shared = await devices.getDisplayMedia({ video: { width: { max: width }, height: { max: height }, frameRate: { max: frameRate } }, audio: Boolean(screenAudio) }).catch(refuse)
      for (const track of shared.getTracks()) this.#add(track)
    }
    if (wanted.audio || wanted.video) for (const track of await this.#open(wanted)) this.#add(track)
  }

  /** Before `initialize` it chooses what is opened; later the camera is asked to follow. @param {string | Partial<VideoProfile>} profile */
  async setVideoProfile(profile) {
    this.#profile = { ...this.#profile, ...(typeof profile === 'string' ? VIDEO_PROFILES[profile] : profile) }
    const { width, height, frameRate } = this.#profile
    await this.getVideoTrack()?.applyConstraints({ width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: frameRate } })
  }

  /** @param {string | Partial<VideoProfile>} profile */
  setScreenProfile(profile) {
    return this.setVideoProfile(profile)
  }

  /** What matters in the picture. @param {'' | 'motion' | 'detail' | 'text'} hint */
  setVideoContentHint(hint) {
    const track = this.getVideoTrack()
    if (track) track.contentHint = hint
  }

  /**
   * Shows it inside an element, silent.
   * @param {string | HTMLElement} element  or its id
   */
  async play(element) {
    const parent = typeof element === 'string' ? document.getElementById(element) : element
    if (!parent) throw new RoomcastError('parameter', 'There is no such element on the page.', 'Give an element, or the id of one.')
    const isMirrored = this.#options.mirror ?? (this.stream === 'main' && this.#options.facingMode !== 'environment')
    this.#player ??= Object.assign(document.createElement('video'), { autoplay: true, playsInline: true, muted: true })
    this.#player.style.cssText = `width:100%;height:100%;object-fit:cover;${isMirrored ? 'transform:scaleX(-1)' : ''}`
    this.#player.srcObject = this.#media
    parent.append(this.#player)
    await this.#player.play()
  }

  /** Takes the picture off the page again. */
  stop() {
    this.#player?.remove()
    this.#player = null
  }

  async resume() {
    await this.#player?.play()
  }

  /** Switches the devices off. */
  close() {
    this.stop()
    for (const track of this.#media.getTracks()) {
      track.stop()
      this.#media.removeTrack(track)
    }
    this.#meter?.context.close()
    this.#meter = null
  }

  hasAudio() {
    return this.#media.getAudioTracks().length > 0
  }

  hasVideo() {
    return this.#media.getVideoTracks().length > 0
  }

  getId() {
    return this.#media.id
  }

  /** @returns {MediaStreamTrack | undefined} */
  getAudioTrack() {
    return this.#media.getAudioTracks()[0]
  }

  /** @returns {MediaStreamTrack | undefined} */
  getVideoTrack() {
    return this.#media.getVideoTracks()[0]
  }

  /** Silence for everybody; the microphone stays open. @returns {Promise<boolean>} false if there is no sound */
  muteAudio() {
    return this.#mute('audio', true)
  }

  unmuteAudio() {
    return this.#mute('audio', false)
  }

  muteVideo() {
    return this.#mute('video', true)
  }

  unmuteVideo() {
    return this.#mute('video', false)
  }

  /** How loud the microphone is now, from 0 to 1. Needs a click on the page before, as every sound does. */
  getAudioLevel() {
    const track = this.getAudioTrack()
    if (!track) return 0
    if (!this.#meter) {
      const context = new AudioContext()
      const analyser = new AnalyserNode(context, { fftSize: 1024 })
      new MediaStreamAudioSourceNode(context, { mediaStream: new MediaStream([track]) }).connect(analyser)
      this.#meter = { context, analyser, samples: new Float32Array(analyser.fftSize) }
    }
    const { analyser, samples } = this.#meter
    analyser.getFloatTimeDomainData(samples)
    return Math.min(1, Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length))
  }

  /**
   * Goes over to another camera or microphone; the others see the new picture without a pause.
   * @param {'audio' | 'video'} kind @param {string} deviceId
   * @throws {RoomcastError}
   */
  async switchDevice(kind, deviceId) {
    this.#options = { ...this.#options, [kind === 'audio' ? 'microphoneId' : 'cameraId']: deviceId }
    const before = kind === 'audio' ? this.getAudioTrack() : this.getVideoTrack()
    // Some systems open a camera only when the one before is closed.
    before?.stop()
    const [track] = await this.#open({ audio: kind === 'audio', video: kind === 'video' })
    if (before) track.enabled = before.enabled
    await this.replaceTrack(track)
  }

  /** @param {MediaStreamTrack} track */
  async replaceTrack(track) {
    for (const before of this.#media.getTracks().filter(({ kind }) => kind === track.kind)) {
      before.stop()
      this.#media.removeTrack(before)
    }
    if (track.kind === 'audio') {
      this.#meter?.context.close()
      this.#meter = null
    }
    this.#add(track)
    await this.carrier?.replaceTrack(track)
  }

  /** The picture of this moment as a data URL. @returns {string | null} */
  getVideoFrame() {
    if (!this.#player?.videoWidth) return null
    const canvas = Object.assign(document.createElement('canvas'), { width: this.#player.videoWidth, height: this.#player.videoHeight })
    canvas.getContext('2d')?.drawImage(this.#player, 0, 0)
    return canvas.toDataURL('image/png')
  }

  /** @param {'audio' | 'video'} kind @param {boolean} muted */
  async #mute(kind, muted) {
    const track = kind === 'audio' ? this.getAudioTrack() : this.getVideoTrack()
    if (!track) return false
    track.enabled = !muted
    await this.carrier?.mute(kind, muted)
    return true
  }

  /** @param {MediaStreamTrack} track */
  #add(track) {
    this.#media.addTrack(track)
    track.addEventListener('ended', () => {
      if (!this.#media.getTracks().includes(track)) return
      const isScreen = this.stream === 'aux' && track.kind === 'video'
      this.dispatchEvent(new CustomEvent(isScreen ? 'screen-sharing-stopped' : 'device-lost', { detail: { kind: track.kind } }))
    })
  }

  /** @param {{ audio: boolean, video: boolean }} wanted */
  async #open({ audio, video }) {
    const { cameraId, microphoneId, facingMode } = this.#options
    const { width, height, frameRate } = this.#profile
    const camera = { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: frameRate }, deviceId: cameraId && { exact: cameraId }, facingMode }
    const opened = await mediaDevices()
      .getUserMedia({ audio: audio && { deviceId: microphoneId ? { exact: microphoneId } : undefined }, video: video && camera })
      .catch(refuse)
    return opened.getTracks()
  }
}

/** A stream of this browser's devices, not opened yet: `initialize` does. @param {StreamOptions} options */
export const createStream = (options) => new LocalStream(options)

function mediaDevices() {
  if (navigator.mediaDevices) return navigator.mediaDevices
  throw new RoomcastError('insecure-page', 'Browsers open cameras only on https and on localhost.', 'Open the page by https.')
}

/** @param {DOMException} problem @returns {never} */
function refuse(problem) {
  const advice = {
    NotAllowedError: 'Allow it in the address bar and try again.',
    NotFoundError: 'Plug a device in, or go on without.',
    OverconstrainedError: 'Choose another device.',
    NotReadableError: 'Close the other program that uses it.',
  }[problem.name]
  throw new RoomcastError(problem.name, problem.message || 'The device could not be opened.', advice ?? 'Try again.')
}
