/** What the browser's statistics mean in words that people use: bits per second, share lost, delay. */

/**
 * @typedef {object} TrackFigures
 * @property {'up' | 'down'} direction
 * @property {string} userID
 * @property {'main' | 'aux'} stream
 * @property {'audio' | 'video'} kind
 * @property {string} codec  like `H264` or `opus`; empty until known
 * @property {number} bps  bits per second since the last call
 * @property {number} lostShare  of the packets since the last call, 0 to 1
 * @property {number} jitterMs  how long what arrived waited here before it was played, in milliseconds; 0 for what is sent
 * @property {number} width
 * @property {number} height
 * @property {number} fps
 * @property {number} audioLevel  0 to 1
 *
 * @typedef {object} Figures
 * @property {number} at  Unix milliseconds
 * @property {number | null} roundTripMs  to the server, by the media's own path; null until measured
 * @property {number} sendBps
 * @property {number} receiveBps
 * @property {number} lostShare  of what was to arrive here since the last call
 * @property {string} path  how the media travels: `udp` or `tcp`, and the server's address where the browser tells; empty without media
 * @property {TrackFigures[]} tracks
 */

/** Reads statistics again and again, and knows what changed since the last time. */
export class FiguresReader {
  /** @type {Map<string, { bytes: number, packets: number, lost: number, at: number, held: number, emitted: number, bps: number, lostShare: number, jitterMs: number }>} */ #before = new Map()

  /**
   * @param {{ up: RTCStatsReport | null, down: RTCStatsReport | null }} reports
   * @param {(direction: 'up' | 'down', trackId: string, mid: string) => { userID: string, stream: 'main' | 'aux' } | null} ownerOf
   * @returns {Figures}
   */
  read({ up, down }, ownerOf) {
    /** @type {TrackFigures[]} */
    const tracks = []
    for (const [direction, report] of /** @type {const} */ ([['up', up], ['down', down]])) {
      /** @type {any} */
      for (const stat of report?.values() ?? []) {
        if (stat.type !== (direction === 'up' ? 'outbound-rtp' : 'inbound-rtp')) continue
        const source = direction === 'up' ? report?.get(stat.mediaSourceId) : stat
        const owner = ownerOf(direction, source?.trackIdentifier ?? '', stat.mid ?? '')
        if (owner) tracks.push({ direction, ...owner, ...this.#track(direction, stat, report, source) })
      }
    }
    const received = tracks.filter(({ direction }) => direction === 'down')
    const pair = selectedPair(down) ?? selectedPair(up)
    return {
      at: Date.now(),
      roundTripMs: pair ? pair.roundTripMs : null,
      path: pair?.path ?? '',
      sendBps: sum(tracks.filter(({ direction }) => direction === 'up').map(({ bps }) => bps)),
      receiveBps: sum(received.map(({ bps }) => bps)),
      lostShare: received.length > 0 ? Math.max(...received.map(({ lostShare }) => lostShare)) : 0,
      tracks,
    }
  }

  /** @param {'up' | 'down'} direction @param {any} stat @param {RTCStatsReport | null} report @param {any} source */
  #track(direction, stat, report, source) {
    /** @type {any} what the other side says of it */
    const remote = stat.remoteId ? report?.get(stat.remoteId) : null
    const isUp = direction === 'up'
    const now = {
      bytes: (isUp ? stat.bytesSent : stat.bytesReceived) ?? 0,
      packets: (isUp ? stat.packetsSent : stat.packetsReceived) ?? 0,
      lost: (isUp ? remote?.packetsLost : stat.packetsLost) ?? 0,
      at: stat.timestamp,
      held: stat.jitterBufferDelay ?? 0,
      emitted: stat.jitterBufferEmittedCount ?? 0,
      bps: 0,
      lostShare: 0,
      jitterMs: 0,
    }
    const before = this.#before.get(stat.id) ?? now
    const seconds = (now.at - before.at) / 1000
    if (seconds > 0) {
      const lost = Math.max(0, now.lost - before.lost)
      const expected = now.packets - before.packets + (isUp ? 0 : lost)
      now.bps = (8 * (now.bytes - before.bytes)) / seconds
      now.lostShare = expected > 0 ? Math.min(1, lost / expected) : 0
      now.jitterMs = now.emitted > before.emitted ? (1000 * (now.held - before.held)) / (now.emitted - before.emitted) : before.jitterMs
    } else Object.assign(now, { bps: before.bps, lostShare: before.lostShare, jitterMs: before.jitterMs }) // the browser answers from its memory when asked too often
    this.#before.set(stat.id, now)
    return {
      kind: stat.kind,
      codec: (/** @type {any} */ (report?.get(stat.codecId))?.mimeType ?? '').split('/')[1] ?? '',
      bps: now.bps,
      lostShare: now.lostShare,
      jitterMs: now.jitterMs,
      width: stat.frameWidth ?? 0,
      height: stat.frameHeight ?? 0,
      fps: Math.round(stat.framesPerSecond ?? 0),
      audioLevel: source?.audioLevel ?? 0,
    }
  }
}

/** @param {RTCStatsReport | null} report */
function selectedPair(report) {
  /** @type {any[]} */
  const stats = [...(report?.values() ?? [])]
  const transport = stats.find(({ type }) => type === 'transport')
  const pair = stats.find(({ id, type, nominated }) => type === 'candidate-pair' && (transport?.selectedCandidatePairId ? id === transport.selectedCandidatePairId : nominated))
  if (!pair) return null
  /** @type {any} */
  const remote = report?.get(pair.remoteCandidateId)
  const rtt = pair.currentRoundTripTime
  return { roundTripMs: rtt === undefined ? null : 1000 * rtt, path: remote ? place(remote) : '' }
}

const sum = (/** @type {number[]} */ numbers) => numbers.reduce((a, b) => a + b, 0)

/** @param {{ protocol: string, address?: string, port?: number }} candidate */
function place({ protocol, address, port }) {
  if (!address) return protocol
  return `${protocol} ${address.includes(':') ? `[${address}]` : address}:${port}`
}
