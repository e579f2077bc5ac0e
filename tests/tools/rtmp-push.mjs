/**
 * An RTMP publisher that does what ffmpeg cannot be made to do: timestamps that wrap or jump, and a picture that changes its size
 * in mid-stream. It takes FLV, as ffmpeg writes it to a pipe, and sends its tags on one connection, with the timestamps that it is
 * told. No more of RTMP is here than that needs.
 */
import { once } from 'node:events'
import { connect } from 'node:net'

const HANDSHAKE_BYTES = 1536
const CHUNK_BYTES = 65_536
const ANSWER_MS = 10_000

/** One publisher's connection. */
export class RtmpPush {
  /** @type {import('node:net').Socket} */ #socket
  #inbox = Buffer.alloc(0)

  /** @param {import('node:net').Socket} socket */
  constructor(socket) {
    this.#socket = socket
    socket.on('data', (data) => (this.#inbox = Buffer.concat([this.#inbox, data]).subarray(-65_536)))
    socket.on('error', () => {}) // seen when it closes
    /** Resolves when the connection has ended. */
    this.ended = once(socket, 'close')
  }

  /** @param {string} url  rtmp://host:port/app/name?query */
  static async open(url) {
    const { hostname, port, pathname, search } = new URL(url.replace(/^rtmp:/, 'http:'))
    const [, app, ...name] = pathname.split('/')
    const socket = connect(Number(port || 1935), hostname)
    await once(socket, 'connect')
    const push = new RtmpPush(socket)
    socket.write(Buffer.concat([Buffer.from([3]), Buffer.alloc(8), Buffer.alloc(HANDSHAKE_BYTES - 8, 7)]))
    await push.#until(() => push.#inbox.length >= 1 + 2 * HANDSHAKE_BYTES, 'the handshake')
    socket.write(push.#inbox.subarray(1, 1 + HANDSHAKE_BYTES))
    push.#inbox = Buffer.alloc(0)
    push.#send(2, 1, 0, 0, uint32(CHUNK_BYTES))
    push.#send(3, 20, 0, 0, amf('connect', 1, { app, type: 'nonprivate', tcUrl: `rtmp://${hostname}:${port}/${app}` }))
    push.#send(3, 20, 0, 0, amf('createStream', 2, null))
    await push.#hears('_result')
    push.#send(3, 20, 0, 1, amf('publish', 3, null, `${name.join('/')}${search}`, 'live'))
    await push.#hears('NetStream.Publish.Start')
    return push
  }

  /**
   * Sends the tags of an FLV file as they come; resolves when it ends.
   * @param {import('node:stream').Readable} flv
   * @param {(timestampMs: number) => number} [timestamp]  what to send for a tag's own; reduced to 32 bits
   */
  async send(flv, timestamp = (ms) => ms) {
    let rest = Buffer.alloc(0)
    let at = 13 // behind the file's header
    for await (const data of flv) {
      rest = Buffer.concat([rest, data])
      for (;;) {
        if (rest.length < at + 11) break
        const length = rest.readUIntBE(at + 1, 3)
        if (rest.length < at + 11 + length + 4) break
        const ms = rest.readUIntBE(at + 4, 3) + rest[at + 7] * 2 ** 24
        const kind = rest[at]
        const body = rest.subarray(at + 11, at + 11 + length)
        const payload = kind === 18 ? Buffer.concat([amf('@setDataFrame'), body]) : body
        if (!this.#send(kind === 8 ? 4 : 6, kind, timestamp(ms), 1, payload)) await Promise.race([once(this.#socket, 'drain'), this.ended])
        rest = rest.subarray(at + 11 + length + 4)
        at = 0
      }
      if (this.#socket.destroyed) throw new Error('the server closed the connection')
    }
  }

  /** Sends one tag; resolves when there is room for another. @param {number} kind  8 or 9 @param {number} timestampMs @param {Buffer} payload */
  async tag(kind, timestampMs, payload) {
    if (!this.#send(kind === 8 ? 4 : 6, kind, timestampMs, 1, payload)) await Promise.race([once(this.#socket, 'drain'), this.ended])
  }

  /** Ends the stream and the connection. */
  async stop() {
    this.#send(3, 20, 0, 0, amf('deleteStream', 4, null, 1))
    this.#socket.end()
    await this.ended
  }

  /** One message, in chunks (RTMP 1.0 §5.3.1). @param {number} channel @param {number} type @param {number} ms @param {number} stream @param {Buffer} payload */
  #send(channel, type, ms, stream, payload) {
    const time = ((ms % 2 ** 32) + 2 ** 32) % 2 ** 32
    const isLong = time >= 0xffffff
    const extended = isLong ? uint32(time) : Buffer.alloc(0)
    const header = Buffer.alloc(12)
    header[0] = channel
    header.writeUIntBE(isLong ? 0xffffff : time, 1, 3)
    header.writeUIntBE(payload.length, 4, 3)
    header[7] = type
    header.writeUInt32LE(stream, 8)
    const pieces = [header, extended, payload.subarray(0, CHUNK_BYTES)]
    for (let sent = CHUNK_BYTES; sent < payload.length; sent += CHUNK_BYTES) pieces.push(Buffer.from([0xc0 | channel]), extended, payload.subarray(sent, sent + CHUNK_BYTES))
    return this.#socket.write(Buffer.concat(pieces))
  }

  /** @param {string} word */
  #hears(word) {
    return this.#until(() => {
      const text = this.#inbox.toString('latin1')
      if (/_error|NetStream\.Publish\.(?!Start)\w+/.test(text)) throw new Error(`the server refused: ${text.replace(/[^\x20-\x7e]+/g, ' ')}`)
      return text.includes(word)
    }, word)
  }

  /** @param {() => boolean} condition @param {string} what */
  async #until(condition, what) {
    const signal = AbortSignal.timeout(ANSWER_MS)
    while (!condition()) {
      if (this.#socket.destroyed) throw new Error(`the server closed the connection before ${what}`)
      await once(this.#socket, 'data', { signal })
    }
  }
}

/** @param {number} value */
function uint32(value) {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

/** Values in AMF0. @param {...(string | number | null | Record<string, string>)} values @returns {Buffer} */
function amf(...values) {
  const name = (/** @type {string} */ text) => {
    const length = Buffer.alloc(2)
    length.writeUInt16BE(Buffer.byteLength(text))
    return Buffer.concat([length, Buffer.from(text)])
  }
  const number = (/** @type {number} */ value) => {
    const bytes = Buffer.alloc(8)
    bytes.writeDoubleBE(value)
    return bytes
  }
  return Buffer.concat(
    values.map((value) => {
      if (value === null) return Buffer.from([5])
      if (typeof value === 'string') return Buffer.concat([Buffer.from([2]), name(value)])
      if (typeof value === 'number') return Buffer.concat([Buffer.from([0]), number(value)])
      const fields = Object.entries(value).flatMap(([key, text]) => [name(key), amf(text)])
      return Buffer.concat([Buffer.from([3]), ...fields, Buffer.from([0, 0, 9])])
    }),
  )
}
