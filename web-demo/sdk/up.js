/** What this side sends: one peer connection, on which this side always offers. */

import { RoomcastError } from './signaling.js'

/**
 * @typedef {object} PublishOptions
 * @property {'main' | 'aux'} [stream]  default 'main'; 'aux' is the screen share
 * @property {'H264' | 'VP8' | 'VP9' | 'AV1'} [codec]  offer only this video codec; by default the server chooses
 * @property {number} [maxVideoBps]  upper limit of the video bitrate, in bits per second
 * @property {RTCDegradationPreference} [degradationPreference]  what gives way first when the network is slow
 */

/** Our side of publishing. A closed one is thrown away; the next publish makes a new one. */
export class Up {
  #connection
  #signaling
  /** Negotiations run one after the other. @type {Promise<unknown>} */
  #queue = Promise.resolve()
  /** @type {Map<string, RTCRtpTransceiver[]>} */
  #streams = new Map()

  /**
   * @param {import('./signaling.js').Signaling} signaling
   * @param {RTCConfiguration} configuration
   * @param {(state: RTCPeerConnectionState) => void} onState
   */
  constructor(signaling, configuration, onState) {
    this.#signaling = signaling
    this.#connection = new RTCPeerConnection(configuration)
    this.#connection.addEventListener('connectionstatechange', () => onState(this.#connection.connectionState))
  }

  /** @param {MediaStreamTrack[]} tracks @param {PublishOptions} options */
  publish(tracks, { stream = 'main', codec, maxVideoBps, degradationPreference }) {
    return this.#next(async () => {
      await this.#release(stream)
      const group = new MediaStream(tracks)
      /** @type {RTCRtpTransceiver[]} */
      const transceivers = []
      this.#streams.set(stream, transceivers)
      for (const track of tracks) {
        const transceiver = await this.#transceiverFor(track, group)
        transceivers.push(transceiver)
        if (track.kind !== 'video') continue
        transceiver.setCodecPreferences(codec ? codecsFor(codec) : [])
        const parameters = transceiver.sender.getParameters()
        parameters.degradationPreference = degradationPreference
        for (const encoding of parameters.encodings) encoding.maxBitrate = maxVideoBps
        await transceiver.sender.setParameters(parameters)
      }
      try {
        await this.#negotiate()
      } catch (error) {
        await this.#release(stream)
        throw error
      }
    })
  }

  /** @param {string} stream */
  unpublish(stream) {
    return this.#next(async () => {
      if (!this.#streams.has(stream)) return
      await this.#release(stream)
      await this.#signaling.request('unpublish', { stream })
    })
  }

  /** Finds a new path to the server (ICE restart). What is sent goes on over the old one meanwhile, if that still leads there. */
  restart() {
    return this.#next(async () => {
      if (this.#streams.size === 0 || this.#connection.signalingState === 'closed') return
      this.#connection.restartIce()
      await this.#negotiate()
    })
  }

  /** The server ended a stream of ours. @param {string} stream */
  drop(stream) {
    return this.#next(() => this.#release(stream))
  }

  /** What carries this kind of medium in a stream. @param {string} stream @param {string} kind */
  sender(stream, kind) {
    return this.#streams.get(stream)?.find(({ sender }) => sender.track?.kind === kind)?.sender
  }

  /** Which stream an m-line feeds. @param {string} mid @returns {'main' | 'aux' | undefined} */
  streamOf(mid) {
    for (const [stream, transceivers] of this.#streams)
      if (transceivers.some((transceiver) => transceiver.mid === mid)) return /** @type {'main' | 'aux'} */ (stream)
  }

  stats() {
    return this.#connection.getStats()
  }

  close() {
    this.#connection.close()
  }

  /** @template T @param {() => Promise<T>} task @returns {Promise<T>} */
  #next(task) {
    const result = this.#queue.then(task)
    this.#queue = result.catch(() => {})
    return result
  }

  /**
   * A transceiver that an earlier stream left is used again, so that the description does not grow with every change.
   * @param {MediaStreamTrack} track @param {MediaStream} group
   */
  async #transceiverFor(track, group) {
    const free = this.#connection.getTransceivers().find(({ direction, receiver }) => direction === 'inactive' && receiver.track.kind === track.kind)
    if (!free) return this.#connection.addTransceiver(track, { direction: 'sendonly', streams: [group] })
    free.direction = 'sendonly'
    free.sender.setStreams(group)
    await free.sender.replaceTrack(track)
    return free
  }

  /** Stops sending a stream; the next offer shows its m-lines as inactive. @param {string} stream */
  async #release(stream) {
    for (const transceiver of this.#streams.get(stream) ?? []) {
      transceiver.direction = 'inactive'
      await transceiver.sender.replaceTrack(null)
    }
    this.#streams.delete(stream)
  }

  async #negotiate() {
    const connection = this.#connection
    await connection.setLocalDescription()
    const tracks = [...this.#streams].flatMap(([stream, transceivers]) => transceivers.map(({ mid }) => ({ mid, stream })))
    try {
      const { sdp } = await this.#signaling.request('publish', { sdp: connection.localDescription?.sdp, tracks })
      await connection.setRemoteDescription({ type: 'answer', sdp })
    } catch (error) {
      if (connection.signalingState === 'have-local-offer') await connection.setLocalDescription({ type: 'rollback' })
      throw error
    }
  }
}

/**
 * The wanted codec and what repairs it. Of H.264 the constrained baseline comes first, which everybody decodes, and packetization
 * mode 0 is left out, because it cannot cut a picture into packets.
 * @param {string} codec
 */
function codecsFor(codec) {
  const all = RTCRtpReceiver.getCapabilities('video')?.codecs ?? []
  const mimeType = `video/${codec.toLowerCase()}`
  const wanted = all.filter((one) => one.mimeType.toLowerCase() === mimeType && !one.sdpFmtpLine?.includes('packetization-mode=0'))
  if (wanted.length === 0) throw new RoomcastError('no-codec', `This browser cannot send ${codec}.`, 'Choose another codec.')
  const isBaseline = (/** @type {RTCRtpCodec} */ one) => Number(one.sdpFmtpLine?.includes('42e01f') ?? false)
  wanted.sort((a, b) => isBaseline(b) - isBaseline(a))
  return [...wanted, ...all.filter((one) => one.mimeType === 'video/rtx')]
}
