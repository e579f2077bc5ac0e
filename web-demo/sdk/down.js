/** What this side receives: one peer connection, on which the server always offers. */

/** @typedef {{ mid: string, userID: string, stream: 'main' | 'aux' }} Assignment  whose track an m-line carries */

/** Our side of subscribing. A closed one is thrown away; the next offer makes a new one. */
export class Down {
  #connection
  #signaling
  #onMedia
  /** Offers are answered one after the other. @type {Promise<unknown>} */
  #queue = Promise.resolve()
  /** @type {Map<string, { userID: string, stream: 'main' | 'aux', media: MediaStream }>} */
  #streams

  /**
   * @param {import('./signaling.js').Signaling} signaling
   * @param {RTCConfiguration} configuration
   * @param {Map<string, { userID: string, stream: 'main' | 'aux', media: MediaStream }>} streams  outlives this object
   * @param {{ onState: (state: RTCPeerConnectionState) => void, onMedia: (key: string) => void }} callbacks
   */
  constructor(signaling, configuration, streams, { onState, onMedia }) {
    this.#signaling = signaling
    this.#streams = streams
    this.#onMedia = onMedia
    this.#connection = new RTCPeerConnection(configuration)
    this.#connection.addEventListener('connectionstatechange', () => onState(this.#connection.connectionState))
  }

  /** @param {{ version: number, sdp: string, tracks: Assignment[] }} offer @returns {Promise<void>} */
  answer({ version, sdp, tracks }) {
    const result = this.#queue.then(async () => {
      const connection = this.#connection
      if (connection.signalingState === 'closed') return
      await connection.setRemoteDescription({ type: 'offer', sdp })
      this.#assign(tracks)
      await connection.setLocalDescription()
      await this.#signaling.request('answer', { version, sdp: connection.localDescription?.sdp })
    })
    this.#queue = result.catch(() => {})
    return result
  }

  stats() {
    return this.#connection.getStats()
  }

  close() {
    this.#connection.close()
  }

  /**
   * Gives every stream the tracks that the offer says it has. m-lines are used again for other members, so the offer's list, and
   * not the order in which tracks appeared, says whose track it is.
   * @param {Assignment[]} assignments
   */
  #assign(assignments) {
    const received = new Map(this.#connection.getTransceivers().map(({ mid, receiver }) => [mid, receiver.track]))
    /** @type {Map<string, Set<MediaStreamTrack>>} */
    const wanted = new Map([...this.#streams.keys()].map((key) => [key, new Set()]))
    for (const { mid, userID, stream } of assignments) {
      const key = streamKey(userID, stream)
      const track = received.get(mid)
      if (!this.#streams.has(key)) this.#streams.set(key, { userID, stream, media: new MediaStream() })
      if (!wanted.has(key)) wanted.set(key, new Set())
      if (track) wanted.get(key)?.add(track)
    }
    for (const [key, tracks] of wanted) {
      const media = /** @type {MediaStream} */ (this.#streams.get(key)?.media)
      const had = media.getTracks()
      const gone = had.filter((track) => !tracks.has(track))
      const added = [...tracks].filter((track) => !had.includes(track))
      for (const track of gone) media.removeTrack(track)
      for (const track of added) media.addTrack(track)
      if (gone.length + added.length > 0) this.#onMedia(key)
    }
  }
}

/** The key of a stream in the map of what is received. @param {string} userID @param {string} stream */
export const streamKey = (userID, stream) => `${stream}/${userID}`
