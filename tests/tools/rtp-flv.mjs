/** H.264 from RTP packets to FLV, without a server: what a player gets when there is nothing in between. */

const KEY = 5
const SPS = 7
const PPS = 8

/** One stream's packets to tags. They have to come in order and complete, as on this machine's loopback. */
export class RtpToFlv {
  /** What goes before the first tag (FLV 1.0: video only). */
  static head = Buffer.from([0x46, 0x4c, 0x56, 1, 1, 0, 0, 0, 9, 0, 0, 0, 0])
  /** @type {Buffer[]} */ #units = []
  /** @type {Buffer[]} */ #fragments = []
  /** @type {number | undefined} */ #first
  /** @type {Buffer | undefined} */ #sps
  /** @type {Buffer | undefined} */ #pps
  /** A key frame has come. */ started = false

  /** The tags that a packet completes. @param {{ timestamp: number, marker: boolean }} header @param {Buffer} payload */
  push({ timestamp, marker }, payload) {
    if (payload.length > 2) this.#take(payload)
    if (!marker || this.#units.length === 0) return Buffer.alloc(0)
    const units = this.#units
    this.#units = []
    const key = units.some((unit) => (unit[0] & 31) === KEY)
    const ms = Math.round((((timestamp - (this.#first ??= timestamp)) >>> 0) / 90) % 2 ** 32)
    const config = []
    if (key && !this.started && this.#sps && this.#pps) {
      this.started = true
      const record = Buffer.concat([Buffer.from([1, ...this.#sps.subarray(1, 4), 0xff, 0xe1]), sized(this.#sps, 2), Buffer.from([1]), sized(this.#pps, 2)])
      config.push(tag(ms, 0x17, 0, record))
    }
    if (!this.started) return Buffer.alloc(0)
    return Buffer.concat([...config, tag(ms, key ? 0x17 : 0x27, 1, Buffer.concat(units.map((unit) => sized(unit, 4))))])
  }

  /** RFC 6184: units alone, together (STAP-A) and in parts (FU-A). @param {Buffer} payload */
  #take(payload) {
    const kind = payload[0] & 31
    if (kind === 24) {
      for (let at = 1; at + 2 < payload.length; at += 2 + payload.readUInt16BE(at)) this.#unit(payload.subarray(at + 2, at + 2 + payload.readUInt16BE(at)))
    } else if (kind === 28) {
      if (payload[1] & 0x80) this.#fragments = [Buffer.from([(payload[0] & 0xe0) | (payload[1] & 31)])]
      this.#fragments.push(payload.subarray(2))
      if (payload[1] & 0x40) this.#unit(Buffer.concat(this.#fragments))
    } else this.#unit(payload)
  }

  /** @param {Buffer} unit */
  #unit(unit) {
    const kind = unit[0] & 31
    if (kind === SPS) this.#sps = unit
    else if (kind === PPS) this.#pps = unit
    else this.#units.push(unit)
  }
}

/** @param {Buffer} data @param {number} bytes  of the length before it */
function sized(data, bytes) {
  const length = Buffer.alloc(bytes)
  length.writeUIntBE(data.length, 0, bytes)
  return Buffer.concat([length, data])
}

/** A video tag and the length behind it. @param {number} ms @param {number} first  byte @param {number} kind @param {Buffer} data */
function tag(ms, first, kind, data) {
  const head = Buffer.alloc(16)
  head[0] = 9
  head.writeUIntBE(data.length + 5, 1, 3)
  head.writeUIntBE(ms & 0xffffff, 4, 3)
  head[7] = ms >>> 24
  head[11] = first
  head[12] = kind
  const behind = Buffer.alloc(4)
  behind.writeUInt32BE(data.length + 16)
  return Buffer.concat([head, data, behind])
}
