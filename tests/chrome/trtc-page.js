/**
 * A page as it was written for the vendor's cloud: the package `trtc-js-sdk` as it is, and one line more, `setProxyServer`. Driven
 * by tests through `window.guest`; pictures and sound are read as in `page.js`.
 */

import { picture, videoOf } from '/test/chrome/page.js'
import { Ear, Eye } from '/test/chrome/senses.js'

class Guest {
  /** @type {Map<string, Eye>} */ eyes = new Map()
  /** @type {Map<string, Ear>} */ ears = new Map()
  /** @type {Map<string, any>} */ streams = new Map()
  /** @type {{ type: string, userID?: string, kind?: string }[]} */ events = []
  audio = new AudioContext()

  /** @param {any} ticket @param {{ proxy: string, mode?: string, role?: string, options?: object }} how */
  async join({ sdkAppID, userID, userSig, roomID, privateMapKey }, { proxy, mode = 'rtc', role, useStringRoomId = false, isScreenShareOnly, options }) {
    window.TRTC.Logger.setLogLevel(window.TRTC.Logger.LogLevel.WARN)
    this.userID = userID
    this.client = window.TRTC.createClient({ sdkAppId: sdkAppID, userId: userID, userSig, mode, useStringRoomId, isScreenShareOnly })
    this.client.setProxyServer(proxy)
    for (const type of ['peer-join', 'peer-leave', 'mute-audio', 'mute-video', 'unmute-audio', 'unmute-video', 'client-banned', 'error', 'connection-state-changed'])
      this.client.on(type, (event) => this.events.push({ type, userID: event.userId, state: event.state, code: event.getCode?.() }))
    this.client.on('stream-added', ({ stream }) => {
      this.events.push({ type: 'stream-added', userID: stream.getUserId(), kind: stream.getType() })
      this.client.subscribe(stream, options)
    })
    this.client.on('stream-removed', ({ stream }) => this.events.push({ type: 'stream-removed', userID: stream.getUserId(), kind: stream.getType() }))
    this.client.on('stream-updated', ({ stream }) => this.watch(stream))
    this.client.on('stream-subscribed', ({ stream }) => {
      this.events.push({ type: 'stream-subscribed', userID: stream.getUserId(), kind: stream.getType() })
      this.watch(stream)
    })
    await this.client.join({ roomId: roomID, privateMapKey, role })
  }

  /** @param {{ toneHz?: number, hue?: number, width?: number, height?: number }} what */
  async publish({ toneHz = 1000, hue = 0, width = 640, height = 480 } = {}) {
    await this.audio.resume()
    const oscillator = new OscillatorNode(this.audio, { frequency: toneHz })
    const out = new MediaStreamAudioDestinationNode(this.audio)
    oscillator.connect(new GainNode(this.audio, { gain: 0.25 })).connect(out)
    oscillator.start()
    this.local = window.TRTC.createStream({ userId: this.userID, audioSource: out.stream.getAudioTracks()[0], videoSource: picture(width, height, hue) })
    await this.local.initialize()
    await this.client.publish(this.local)
  }

  /** @param {any} stream */
  watch(stream) {
    const key = `${stream.getType()}/${stream.getUserId()}`
    this.streams.set(key, stream)
    const [picture, sound] = [stream.getVideoTrack(), stream.getAudioTrack()]
    // In one element: Chromium hears a remote track only while an element has it.
    const media = new MediaStream([picture, sound].filter(Boolean))
    const video = videoOf(media)
    if (picture) this.eyes.set(key, new Eye(video))
    if (sound) this.ears.set(key, new Ear(new MediaStreamAudioSourceNode(this.audio, { mediaStream: media })))
  }

  sees(userID, kind = 'main') {
    return this.eyes.get(`${kind}/${userID}`)?.read() ?? null
  }

  hears(userID, frequencyHz) {
    return this.ears.get(`main/${userID}`)?.share(frequencyHz) ?? 0
  }
}

window.guest = new Guest()
